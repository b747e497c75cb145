"""Judging the proposals of a step by rounds: all of them cheaply, those that are left with more training and more images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.netadapt.adaptation import Judgement, Position
from nas.netadapt.outcomes import Outcomes, paired
from nas.netadapt.proposal import Proposal
from nas.netadapt.selection import Candidate, Rule
from search_spaces.arch import ArchSpec

FINALISTS = 3
"""Reach the last round; the first one is left by a third, though by no fewer."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a tournament.

    Attributes:
        number: from 1.
        num_steps: of fine-tuning, for each proposal and for the parent beside them.
        share: part of the held-out images that score, in (0, 1].
    """

    number: int
    num_steps: int
    share: float


def survivors(num: int, round_: Round) -> int:
    """How many of `num` networks go on after `round_`."""
    return min(num, max(FINALISTS, round(num / 3)) if round_.number == 1 else FINALISTS)


Score = Callable[[Position, Sequence[ArchSpec], Round], Sequence[Outcomes]]
"""Where a step begins, networks cut from its own (itself among them), a round -> outcomes of each, on the same images. The
images of a round are also the first ones of every later round."""


def halving(num_steps: int) -> tuple[Round, ...]:
    """Rounds without training, with a sixteenth, with an eighth of `num_steps`, on a quarter, half, all of the images.

    Successive halving (arXiv 1502.07943): each round trains twice as much half as many networks. Without training there is
    one round on all images.
    """
    if num_steps == 0:
        return (Round(1, 0, 1.0),)
    return (Round(1, 0, 0.25), Round(2, max(1, num_steps // 16), 0.5), Round(3, max(1, num_steps // 8), 1.0))


def published(num_steps: int) -> tuple[Round, ...]:
    """Every proposal with all of the training, on all images (arXiv 1804.03230, algorithm 1)."""
    return (Round(1, num_steps, 1.0),)


class Tournament:
    """Judges the proposals of a step; see `nas.netadapt.adaptation.Judge`.

    In each round the parent is treated as the proposals are, so that what training alone gains is nobody's, and all are
    scored on the same images; those that the rule would accept first go on. Fewer candidates are scored on more images.

    Args:
        rounds: at least one.
        score: gives outcomes.
        rule: ranks candidates.
    """

    def __init__(self, rounds: Sequence[Round], score: Score, rule: Rule) -> None:
        self._rounds = rounds
        self._score = score
        self._rule = rule

    def __call__(self, parent: Position, proposals: Sequence[Proposal]) -> Judgement:
        """The candidates of the last round, and those that fell out before."""
        eliminated: list[Candidate] = []
        *first, last = self._rounds
        left = list(proposals)
        for round_ in first:
            if len(left) <= FINALISTS:
                break
            candidates, _ = self._judged(parent, left, round_)
            kept = self._rule.best(candidates, survivors(len(left), round_))
            eliminated = [candidate for candidate in candidates if candidate not in kept] + eliminated
            left = [proposal for proposal in left if any(proposal is candidate.proposal for candidate in kept)]
        candidates, outcomes = self._judged(parent, left, last)
        return Judgement(
            parent=float(outcomes[0].mean()),
            candidates=tuple(candidates),
            eliminated=tuple(eliminated),
            tied=self._tied(candidates, outcomes),
        )

    def _judged(
        self, parent: Position, proposals: Sequence[Proposal], round_: Round
    ) -> tuple[list[Candidate], Sequence[Outcomes]]:
        """Candidates, and the outcomes of the parent and of each of them."""
        outcomes = self._score(parent, [parent.arch, *(proposal.arch for proposal in proposals)], round_)
        control, *others = outcomes
        candidates = []
        for proposal, own in zip(proposals, others, strict=True):
            change = paired(own, control)
            candidates.append(Candidate(proposal, float(own.mean()), change.mean, change.half_width))
        return candidates, outcomes

    def _tied(self, candidates: Sequence[Candidate], outcomes: Sequence[Outcomes]) -> tuple[str, ...]:
        """Groups of those whose value is not told apart from the leader's, image by image."""
        control, *others = outcomes
        values = [
            (own - control) * self._rule.weight(candidate.proposal)
            for candidate, own in zip(candidates, others, strict=True)
        ]
        leader = candidates.index(self._rule.select(candidates).candidate)
        return tuple(
            candidate.proposal.group
            for number, candidate in enumerate(candidates)
            if number != leader and not paired(values[leader], values[number]).excludes_zero
        )
