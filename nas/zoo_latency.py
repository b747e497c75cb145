"""Latency of networks at resolutions of their own, each interleaved with one reference, remembered between runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from latency.latency import Latency, finite_or_none
from latency.meter import GRADES
from nas.latency_cli import local_meter
from nas.measurement_cache import CachedMeter
from search_spaces.graph import Graph
from search_spaces.onnx_model import emit_onnx

REFERENCE = "mobilenet_v2"


@dataclass(frozen=True, slots=True)
class MeasuredNetwork:
    """A latency, as the tables of the zoo show it."""

    latency: Latency

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds; None where it failed."""
        return finite_or_none(self.latency.latency_ms)

    def to_dict(self) -> dict[str, Any]:
        """The part of it that is shown, as JSON types."""
        keys = ("latency_ms", "interval_ms", "ratio", "ratio_interval", "status")
        return {key: value for key, value in self.latency.to_dict().items() if key in keys}


def measure_networks(
    graphs: Sequence[Graph], *, grade: str = "search", reference: Graph | None = None, fresh: bool = False
) -> Iterator[MeasuredNetwork]:
    """Measure one network after the other.

    Args:
        graphs: the networks.
        grade: name of how carefully.
        reference: what each is interleaved with, and whose time makes milliseconds of ratios; by default MobileNetV2.
        fresh: anew, also where a measurement is remembered.

    Raises:
        UserError: this machine cannot measure.
    """
    with local_meter(REFERENCE, remembers=lambda meter: CachedMeter(meter, fresh=fresh)) as meter:
        if reference is not None:
            meter = meter.against(emit_onnx(reference))
        for graph in graphs:
            yield MeasuredNetwork(meter.measure_model(emit_onnx(graph), GRADES[grade])[0])
