"""The loop: propose, judge, accept, until the budget is met. It knows nothing of training, devices or disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from nas.netadapt.proposal import Cost, NarrowerWidths, Offer, Proposal, multiples_of_8, offer
from nas.netadapt.schedule import ReductionSchedule, within
from nas.netadapt.selection import Candidate, Choice, Selection, by_slope
from search_spaces.arch import ArchSpec
from search_spaces.width_groups import V3_KINDS, Kind

MAX_OVERSHOOT = 0.03
"""Part of the target by which the last step may end below it, unless the rules say otherwise."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the proposals of one step do to the accuracy.

    Attributes:
        parent: accuracy in [0, 1] of the parent, unchanged but treated (trained, calibrated) as the candidates were: what
            they gained by the treatment alone is not theirs.
        candidates: those that may be accepted, at least one, in the network's order.
        eliminated: those that fell out before, as they were last scored, the last ones to fall out first.
        tied: groups of candidates that could not be told apart from the best one.
    """

    parent: float
    candidates: tuple[Candidate, ...]
    eliminated: tuple[Candidate, ...] = ()
    tied: tuple[str, ...] = ()

    @classmethod
    def of(cls, parent: float, proposals: Sequence[Proposal], accuracies: Sequence[float]) -> Judgement:
        """All proposals, each by one accuracy on the images of the parent's."""
        pairs = zip(proposals, accuracies, strict=True)
        return cls(parent, tuple(Candidate(proposal, accuracy, accuracy - parent) for proposal, accuracy in pairs))


Judge = Callable[["Position", Sequence[Proposal]], Judgement]
"""Where a step begins and its proposals -> accuracies."""

Settle = Callable[["Position", Proposal], float]
"""Where a step begins and the accepted proposal -> its cost as it counts towards the budget: a measurement, where prices are
predictions."""


def as_priced(parent: Position, accepted: Proposal) -> float:  # noqa: ARG001  (one of several ways to settle)
    """What the proposal was priced at."""
    return accepted.cost


@dataclass(frozen=True, slots=True)
class Rules:
    """How a network is adapted.

    Attributes:
        schedule: what each step has to save.
        seed_cost: of the network that the adaptation began with: the schedule's L.
        target: cost to come down to.
        selection: accepts one proposal of a step.
        kinds: of the widths that may be narrowed.
        widths: what they may be narrowed to.
        max_overshoot: part of the target by which the last step may end below it, where there is a choice: what is below was
            given away.
        credits_excess: the selection credits what is saved below the target, too.
    """

    schedule: ReductionSchedule
    seed_cost: float
    target: float
    selection: Selection = by_slope
    kinds: frozenset[Kind] = V3_KINDS
    widths: NarrowerWidths = multiples_of_8
    max_overshoot: float = MAX_OVERSHOOT
    credits_excess: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """Where an adaptation stands.

    Attributes:
        arch: the network, a layer a block.
        cost: as settled.
        step: number of accepted steps.
    """

    arch: ArchSpec
    cost: float
    step: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One accepted step.

    Attributes:
        parent: where it began.
        asked: what the schedule asked it to save, no more than is lacking to the target.
        reduction: what it was asked to save after all: less where no proposal could save so much.
        judgement: accuracies; what was chosen from.
        choice: the accepted one.
        position: where it ends.
    """

    parent: Position
    asked: float
    reduction: float
    judgement: Judgement
    choice: Choice
    position: Position


class UnreachableError(Exception):
    """No width that may be narrowed saves anything any more.

    Attributes:
        best: the network of least cost so far.
        target: cost to come down to.
    """

    def __init__(self, best: Position, target: float) -> None:
        self.best = best
        self.target = target
        super().__init__(
            f"target {target:g} unreachable: after {best.step} steps no width saves anything below {best.cost:g}"
        )


def adapt(start: Position, rules: Rules, cost: Cost, judge: Judge, settle: Settle = as_priced) -> Iterator[Step]:
    """Steps from `start` until the target is met; each is the last one's child (arXiv 1804.03230, algorithm 1).

    A step is a function of what it begins with, so that an interrupted adaptation goes on from its last position. Savings
    are differences of prices, the budget is kept by settled costs, which may differ. Each step narrows a width, so there is
    an end.

    Args:
        start: the seed, or where another adaptation by these rules stopped.
        rules: how.
        cost: price of a network; may learn from what is settled.
        judge: accuracies of a step.
        settle: cost of what was accepted.

    Yields:
        Steps as they are accepted.

    Raises:
        UnreachableError: the target cannot be met; the steps before it stand.
    """
    position = start
    while not within(position.cost, rules.target):
        step = _step(position, rules, cost, judge, settle)
        yield step
        position = step.position


def _step(parent: Position, rules: Rules, cost: Cost, judge: Judge, settle: Settle) -> Step:
    lacking = parent.cost - rules.target
    asked = min(rules.schedule.reduction(parent.step + 1, rules.seed_cost), lacking)
    offered, reduction = _offer(parent, rules, cost, asked)
    proposals = offered.proposals
    if asked == lacking:
        proposals = _landing(proposals, parent.cost, rules)
    if not rules.credits_excess:
        proposals = tuple(replace(proposal, lacking=lacking) for proposal in proposals)
    judgement = judge(parent, proposals)
    choice = rules.selection(judgement.candidates)
    accepted = choice.candidate.proposal
    position = Position(accepted.arch, settle(parent, accepted), parent.step + 1)
    return Step(parent, asked, reduction, judgement, choice, position)


def _landing(proposals: tuple[Proposal, ...], cost: float, rules: Rules) -> tuple[Proposal, ...]:
    """Of proposals that reach the target those that land on it, `Rules.max_overshoot` below at most; all if none does."""
    landing = tuple(p for p in proposals if cost - p.saving >= rules.target * (1 - rules.max_overshoot))
    return landing or proposals


def _offer(parent: Position, rules: Rules, cost: Cost, asked: float) -> tuple[Offer, float]:
    """What saves as much as is asked for, or half, a quarter ... where nothing does, and how much that is."""
    reduction = asked
    offered = offer(parent.arch, cost, reduction, rules.kinds, rules.widths)
    if not offered.proposals and offered.most <= 0:
        raise UnreachableError(parent, rules.target)
    while not offered.proposals:
        reduction /= 2
        offered = offer(parent.arch, cost, reduction, rules.kinds, rules.widths)
    return offered, reduction
