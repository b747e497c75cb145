"""Latencies of an earlier run, by network and device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from latency.latency import Latency
from nas.errors import UserError
from nas.jsonl import read_json_lines
from nas.quote import Quote
from nas.run import LATENCY_FORMAT, LATENCY_VERSION
from nas.trial import Trial, read_trials
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch


class RecordedLatency:
    """A record in place of devices; a `nas.quote.Quoter`.

    Args:
        latencies: device name -> `ArchSpec.key` -> latency; at least one device.
        source: for messages.
    """

    def __init__(self, latencies: Mapping[str, Mapping[str, Latency]], source: str) -> None:
        self._latencies = latencies
        self._source = source

    @classmethod
    def of_run(cls, run: Path, devices: Sequence[str]) -> RecordedLatency:
        """The latencies of a run folder: of its trials, and of networks outside the search such as the target's.

        Args:
            run: the folder.
            devices: to find in it; the name of one matters only where the run has several.

        Raises:
            UserError: the run has not all of them.
        """
        trials, path = read_trials(run / "trials.jsonl"), run / "latency.jsonl"
        recorded = list(dict.fromkeys(name for trial in trials for name in trial.device_latencies))
        if missing := [name for name in devices if name not in recorded and (recorded or len(devices) > 1)]:
            has = f"has {', '.join(recorded)}" if recorded else "is of one device"
            raise UserError(f"latency.run = {str(run)!r}: no latencies of device {missing[0]!r}; the run {has}")
        records = read_json_lines(path, LATENCY_FORMAT, LATENCY_VERSION) if path.is_file() else []
        latencies: dict[str, dict[str, Latency]] = {name: {} for name in devices}
        for record in records:
            name = record["device"] if recorded else devices[0]
            if record["trial"] is None and name in latencies:
                latencies[name].setdefault(parse_arch(record["arch"]).key, Latency.from_dict(record["latency"]))
        for trial in trials:
            for name in devices:
                if (latency := _latency(trial, name)) is not None:
                    latencies[name][trial.arch.key] = latency
        return cls(latencies, str(run))

    def find(self, arch: ArchSpec) -> Mapping[str, Latency] | None:
        """The recorded latency on each device; None where it is not known on all of them."""
        found = {name: of.get(arch.key) for name, of in self._latencies.items()}
        known = {name: latency for name, latency in found.items() if latency is not None}
        return known if len(known) == len(found) else None

    def quote(self, arch: ArchSpec, told: Sequence[Trial]) -> Quote:  # noqa: ARG002  (a record does not change)
        """What is recorded; status ``failed`` for a network that the run has not measured."""
        failure = Latency.failure(f"{self._source} has no latency of {arch}")
        return Quote(self.find(arch) or dict.fromkeys(self._latencies, failure))


def _latency(trial: Trial, device: str) -> Latency | None:
    return trial.device_latencies[device] if trial.device_latencies else trial.latency
