"""What a check may use: networks and their counts, random numbers, and the meter of this device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from nas.errors import UserError
from search_spaces import zoo
from search_spaces.arch import ArchSpec, Head
from search_spaces.count import Counts, count
from search_spaces.graph import Graph, Linear, Op
from search_spaces.lower import lower, lower_head

if TYPE_CHECKING:
    from latency.estimator import Estimate
    from latency.kernel_profile import Kernel
    from latency.latency import Status
    from latency.measurement import Measurement
    from latency.meter import Grade
    from latency.metered import Meter

DEFAULT_RESOLUTION = 224
NUM_CLASSES = 1000
_MAX_ATTEMPTS = 3

Subject = str | ArchSpec
"""A network: its name in the zoo, width and resolution included, or its architecture."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Measured time of one network over that of another.

    Attributes:
        value: positive.
        interval: 95 % interval.
        status: ``ok``, ``wide`` or ``unstable``, as in `latency.latency.Latency`.
    """

    value: float
    interval: tuple[float, float]
    status: Status

    def __str__(self) -> str:
        low, high = self.interval
        doubt = "" if self.status == "ok" else f", {self.status}"
        return f"{self.value:.3f} ({low:.3f} to {high:.3f}{doubt})"

    @property
    def below_one(self) -> bool:
        """Faster, beyond the interval."""
        return self.interval[1] < 1

    @property
    def above_one(self) -> bool:
        """Slower, beyond the interval."""
        return self.interval[0] > 1


def _closed(graph: Graph) -> Graph:
    """`graph` with the classifier that a model ends in."""
    last = graph.ops[-1]
    if isinstance(last, Linear):
        return graph
    head = Head(channels=None, dropout=0.0)
    return Graph(graph.input_shape, (*graph.ops, *lower_head(head, last.shape, 1, last.name).ops))


class Lab:
    """What checks are given.

    Args:
        meter: measures, remembering or not; None where nothing will be measured.
        seed: of everything drawn.
        say: told what is about to be measured or trained.
    """

    def __init__(
        self, meter: Meter | None = None, *, seed: int = 0, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._meter = meter
        self._seed = seed
        self.say = say

    @property
    def meter(self) -> Meter:
        """The meter.

        Raises:
            RuntimeError: there is none: a check of kind ``analysis`` measures.
        """
        if self._meter is None:
            raise RuntimeError("this check measures, but is not declared as one of kind latency")
        return self._meter

    @property
    def seed(self) -> int:
        """Of everything drawn."""
        return self._seed

    def rng(self) -> np.random.Generator:
        """A generator of its own for each check, so that none depends on which others were run."""
        return np.random.default_rng(self._seed)

    def arch(self, subject: Subject) -> ArchSpec:
        """The architecture of a network."""
        return zoo.get(subject) if isinstance(subject, str) else subject

    def graph(self, subject: Subject, resolution: int | None = None, *, training: bool = False) -> Graph:
        """Its operations for ImageNet's 1000 classes, by default at the resolution that it is made for."""
        if resolution is None:
            variant = zoo.find(subject) if isinstance(subject, str) else None
            resolution = variant.resolution if variant else DEFAULT_RESOLUTION
        return lower(self.arch(subject), resolution, NUM_CLASSES, training=training)

    def count(self, subject: Subject, resolution: int | None = None) -> Counts:
        """Its counts, likewise."""
        return count(self.graph(subject, resolution))

    def layers(self, subject: Subject, resolution: int | None = None) -> dict[str, dict[str, Op]]:
        """Its blocks' layers, likewise: name such as ``b3.l2`` -> part such as ``expand`` or ``se.gate`` -> operation."""
        layers: dict[str, dict[str, Op]] = {}
        for op in self.graph(subject, resolution).ops:
            if op.name.startswith("b"):
                block, layer, part = op.name.split(".", 2)
                layers.setdefault(f"{block}.{layer}", {})[part] = op
        return layers

    def model(self, subject: Subject | Graph, resolution: int | None = None) -> bytes:
        """Its ONNX model with seeded weights, likewise; layers alone get a pooling and one logit behind them."""
        from search_spaces.onnx_model import emit_onnx

        return emit_onnx(_closed(subject) if isinstance(subject, Graph) else self.graph(subject, resolution))

    def ratio(
        self,
        candidate: bytes | Subject | Graph,
        reference: bytes | Subject | Graph,
        what: str = "",
        *,
        grade: Literal["search", "final"] = "search",
    ) -> Ratio:
        """Time of `candidate` over that of `reference`, measured in turns on this device.

        Args:
            candidate: a network, layers alone, or an ONNX model with static shapes.
            reference: likewise.
            what: said while measuring.
            grade: how carefully, see `latency.meter.GRADES`: ``final`` tells differences of 1 %, in ten times the time.

        Raises:
            UserError: one of the two cannot be run.
        """
        from latency.meter import GRADES

        names = [each for each in (candidate, reference) if isinstance(each, str)]
        self.say(f"measuring {what or ' against '.join(names)}")
        first, second = (each if isinstance(each, bytes) else self.model(each) for each in (candidate, reference))
        for attempt in range(_MAX_ATTEMPTS):  # a bad moment of the machine may be over
            measured = self._measured(first, second, GRADES[grade], attempt)
            if measured.status == "failed":
                raise UserError(f"{what or 'a network'} cannot be measured: {measured.reason}")
            if measured.status != "unstable":
                break
        return Ratio(measured.ratio, measured.interval, measured.status)

    def _measured(self, first: bytes, second: bytes, grade: Grade, attempt: int) -> Measurement | Estimate:
        """One process is the measurement itself; several are pooled, unless one of them fails."""
        from latency.estimator import estimate

        taken: list[Measurement] = []
        for seed in range(attempt * grade.num_processes, (attempt + 1) * grade.num_processes):
            fresh = grade.num_processes > 1
            taken.append(self.meter.measure(first, second, grade.settings, seed=seed, fresh_process=fresh))
            if grade.num_processes == 1 or taken[-1].status == "failed":
                return taken[-1]
        return estimate([measurement.sessions for measurement in taken], grade.settings.goal)

    def kernels(self, subject: bytes | Subject | Graph) -> list[Kernel]:
        """Kernels that the runtime executes for a network, with their times under profiling."""
        from latency.kernel_profile import kernels

        model = subject if isinstance(subject, bytes) else self.model(subject)
        self.say(f"profile of {subject}" if isinstance(subject, str) else "profile")
        return kernels(model, self.meter.trace(model))
