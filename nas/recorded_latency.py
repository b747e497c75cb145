"""Latencies of an earlier run, by network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from latency.latency import Latency
from nas.jsonl import read_json_lines
from nas.run import LATENCY_FORMAT, LATENCY_VERSION
from nas.trial import read_trials
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch


class RecordedLatency:
    """A `LatencySource` that measures nothing.

    Args:
        latencies: by `ArchSpec.key`.
        source: for messages.
    """

    def __init__(self, latencies: Mapping[str, Latency], source: str) -> None:
        self._latencies = latencies
        self._source = source

    @classmethod
    def of_run(cls, run: Path) -> RecordedLatency:
        """The latencies of a run folder: of its trials, and of networks outside the search such as the target's."""
        latencies: dict[str, Latency] = {}
        path = run / "latency.jsonl"
        for record in read_json_lines(path, LATENCY_FORMAT, LATENCY_VERSION) if path.is_file() else []:
            if record["trial"] is None:
                latencies.setdefault(parse_arch(record["arch"]).key, Latency.from_dict(record["latency"]))
        latencies |= {t.arch.key: t.latency for t in read_trials(run / "trials.jsonl") if t.latency}
        return cls(latencies, str(run))

    def find(self, arch: ArchSpec) -> Latency | None:
        """The recorded latency; None when there is none."""
        return self._latencies.get(arch.key)

    def latency(self, arch: ArchSpec) -> Latency:
        """The recorded latency; status ``failed`` for a network that the run has not measured."""
        return self.find(arch) or Latency.failure(f"{self._source} has no latency of {arch}")
