"""A step of an adaptation as its journal keeps it, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from latency.latency import Latency
from nas.netadapt.adaptation import Step
from nas.netadapt.selection import Candidate

FORMAT = "nas-adapt-steps"
VERSION = 1


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A proposal as it was scored.

    Attributes:
        group: name of the width, of the step's parent.
        kind: of the group.
        before: channels of the parent.
        after: channels of the proposal.
        saving: in the unit of the cost.
        useful_saving: what of it the rule credited: nothing below the target.
        accuracy: in [0, 1].
        accuracy_change: against the parent that was trained as much without being changed.
        half_width: of the 95 % interval of that change.
        eliminated: fell out before the last round.
    """

    group: str
    kind: str
    before: int
    after: int
    saving: float
    useful_saving: float
    accuracy: float
    accuracy_change: float
    half_width: float
    eliminated: bool

    @property
    def slope(self) -> float:
        """Change of accuracy for each unit of cost that is saved and of use."""
        return self.accuracy_change / self.useful_saving


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One accepted step.

    Attributes:
        step: its number, from 1.
        parent: the network that it began with.
        arch: the one that it ends with, a layer a block.
        asked: what the schedule asked it to save.
        reduction: what it was asked to save after all: less where no proposal could save so much.
        predicted: cost of `arch` as it was priced.
        cost: as it counts towards the budget: measured, where latencies are.
        latency: of `arch`, measured against the reference network; None where nothing is measured.
        change: of `arch`, measured interleaved with the parent: its ratio is what the step really saved; None likewise.
        predicted_ratio: price of `arch` over that of the parent.
        control: accuracy of the parent that was treated as the candidates were.
        candidates: all proposals that were scored, those that could be accepted first, in the network's order.
        accepted: group of the accepted one.
        tied: groups of others that are not told apart from it.
        accuracy: of the network with its weights as they are kept, on all held-out images, in [0, 1].
        num_images: how many these are.
        seconds: wall time of the step.
    """

    step: int
    parent: str
    arch: str
    asked: float
    reduction: float
    predicted: float
    cost: float
    latency: Latency | None
    change: Latency | None
    predicted_ratio: float
    control: float
    candidates: tuple[CandidateRecord, ...]
    accepted: str
    tied: tuple[str, ...]
    accuracy: float
    num_images: int
    seconds: float

    @property
    def choice(self) -> CandidateRecord:
        """The accepted candidate."""
        return next(c for c in self.candidates if c.group == self.accepted and not c.eliminated)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self) | {
            "latency": self.latency and self.latency.to_dict(),
            "change": self.change and self.change.to_dict(),
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "tied": list(self.tied),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> StepRecord:
        """Inverse of `to_dict`; a candidate without `useful_saving` is of a run that credited all of `saving`.

        Raises:
            KeyError, TypeError, ValueError: it is no such record.
        """
        fields = dict(document)
        for key in ("latency", "change"):
            fields[key] = None if fields[key] is None else Latency.from_dict(fields[key])
        fields["candidates"] = tuple(
            CandidateRecord(**{"useful_saving": candidate["saving"], **candidate}) for candidate in fields["candidates"]
        )
        fields["tied"] = tuple(fields["tied"])
        return cls(**fields)


def candidate_records(step: Step) -> tuple[CandidateRecord, ...]:
    """All candidates of `step`."""
    judgement = step.judgement
    return tuple(_record(candidate, eliminated=False) for candidate in judgement.candidates) + tuple(
        _record(candidate, eliminated=True) for candidate in judgement.eliminated
    )


def _record(candidate: Candidate, *, eliminated: bool) -> CandidateRecord:
    proposal = candidate.proposal
    return CandidateRecord(
        group=proposal.group,
        kind=proposal.kind,
        before=proposal.before,
        after=proposal.after,
        saving=proposal.saving,
        useful_saving=proposal.useful_saving,
        accuracy=candidate.accuracy,
        accuracy_change=candidate.accuracy_change,
        half_width=candidate.half_width,
        eliminated=eliminated,
    )
