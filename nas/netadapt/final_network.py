"""A network of an adaptation's final comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from latency.latency import Latency

NetworkName = Literal["seed", "adapted", "uniform", "random"]


def trusted(latency: Latency | None) -> Latency | None:
    """A latency that has a value; None for one that was not measured or could not be."""
    return latency if latency and latency.status != "failed" else None


def latency_in(document: Mapping[str, Any]) -> Latency | None:
    """The latency of a document, None where it has none; raises KeyError, TypeError, ValueError for what is no latency."""
    found = document["latency"]
    return None if found is None else Latency.from_dict(found)


@dataclass(frozen=True, slots=True)
class Training:
    """A training from scratch.

    Attributes:
        seed: of the training; equal seeds of two networks make a pair.
        num_correct: test images classified right.
    """

    seed: int
    num_correct: int


@dataclass(frozen=True, slots=True)
class FinalNetwork:
    """A network of the final comparison.

    Attributes:
        name: of an adaptation's: one of `NetworkName`.
        arch: its string.
        cost: in the unit of the run.
        latency: measured when the adaptation came to it, against the reference; None where nothing is measured.
        macs: multiply-adds.
        params: trained parameters.
        num_test: images of the test split.
        fine_tuned_correct: of these, classified right with the weights that the adaptation left; None where it left none.
        trained: trainings from scratch by one recipe; may be empty.
    """

    name: str
    arch: str
    cost: float
    latency: Latency | None
    macs: int
    params: int
    num_test: int
    fine_tuned_correct: int | None
    trained: tuple[Training, ...]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> FinalNetwork:
        """From an entry of ``final.json``; raises KeyError, TypeError, ValueError for what is none."""
        names = ("name", "arch", "cost", "macs", "params", "num_test", "fine_tuned_correct")
        trained = tuple(Training(**training) for training in document["trained"])
        return cls(latency=latency_in(document), trained=trained, **{name: document[name] for name in names})

    @property
    def accuracies(self) -> dict[int, float]:
        """Seed -> test accuracy trained from scratch, in [0, 1]."""
        return {training.seed: training.num_correct / self.num_test for training in self.trained}

    @property
    def mean_correct(self) -> float | None:
        """Test images right on average over the trainings from scratch; None without one."""
        return sum(one.num_correct for one in self.trained) / len(self.trained) if self.trained else None
