"""The devices of a run, ready to measure: opened, calibrated or checked against the calibration that the run began with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from latency.device_info import DeviceInfo
from latency.latency import Latency
from latency.measurement import Measurement
from latency.table import LatencyTable
from nas.calibration import DeviceCalibration, DeviceState
from nas.device_actor import Yardstick, answer, check_pools, device_actor, end
from nas.errors import UserError
from nas.latency_section import DeviceSection, GradeName
from nas.latency_table import read_table
from nas.network import resolve_network
from nas.objective import Target
from nas.quote import HybridPrices, MeasureAll, Quoter, TablePrices
from nas.recorded_latency import RecordedLatency
from nas.run import TABLE, Run
from nas.table_trust import check_device, check_setting
from search_spaces.arch import ArchSpec


@dataclass(frozen=True)
class Bench:
    """Where the latencies of a run come from, alive.

    Attributes:
        run: gets the samples of networks outside the search.
        actors: device name -> handle of its actor; empty where latencies come from a record,
        record: which is this one; otherwise None.
        table: prices candidates; None where nothing is priced.
        states: device name -> as it is now; empty where latencies come from a record.
    """

    run: Run
    actors: Mapping[str, Any]
    record: RecordedLatency | None
    table: LatencyTable | None
    states: Mapping[str, DeviceState]

    @property
    def trial_actors(self) -> Mapping[str, Any]:
        """Those that trials ask: none where prices stand."""
        return {} if self.run.config.latency.name == "table" else self.actors

    def quoter(self) -> Quoter:
        """What is said of candidates before they are trained."""
        if self.record is not None:
            return self.record
        if self.table is None:
            return MeasureAll()
        (device,) = self.actors
        return (TablePrices if self.run.config.latency.name == "table" else HybridPrices)(self.table, device)

    def measure(self, arch: ArchSpec, grade: GradeName = "search") -> Mapping[str, Latency] | None:
        """Latency on each device of a network outside the search, its samples kept; None where the record has none.

        Raises:
            UserError: a device fails.
        """
        if self.record is not None:
            return self.record.find(arch)
        replies = {name: actor.measure.remote(str(arch), grade) for name, actor in self.actors.items()}
        return {name: self._kept(name, arch, answer(name, reply)) for name, reply in replies.items()}

    def measure_on(self, device: str, arch: ArchSpec) -> Latency | None:
        """As `measure`, on one device."""
        if self.record is not None:
            return (self.record.find(arch) or {}).get(device)
        return self._kept(device, arch, answer(device, self.actors[device].measure.remote(str(arch))))

    def _kept(
        self, device: str, arch: ArchSpec, reply: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]
    ) -> Latency:
        latency, measurements = Latency.from_dict(reply[0]), [Measurement.from_dict(m) for m in reply[1]]
        self.run.append_latency(None, device, arch, latency, measurements)
        return latency

    def kernel_times_us(self, arch: ArchSpec) -> Mapping[str, float]:
        """Operation name -> microseconds on the first device, under profiling; empty where nothing is measured."""
        if not self.actors:
            return {}
        name, actor = next(iter(self.actors.items()))
        times: Mapping[str, float] = answer(name, actor.kernel_times_us.remote(str(arch)))
        return times

    def calibrated(self) -> Mapping[str, DeviceCalibration]:
        """What to freeze of each device, its target resolved.

        Raises:
            UserError: no latency of a target's network.
        """
        return {
            device.name: DeviceCalibration(self._target_ms(device), self.states.get(device.name))
            for device in self.run.config.latency.all_devices
        }

    def _target_ms(self, device: DeviceSection) -> float:
        key = "objective.target" if device.target is None else f"latency.devices, {device.name!r}: target"
        text = self.run.config.objective.target if device.target is None else device.target
        target = Target.parse(text)
        if target.network is None:
            return target.value
        latency = self.measure_on(device.name, resolve_network(target.network))
        if latency is None or latency.status == "failed":
            raise UserError(f"{key} {text!r}: no latency of {target.network}; write the target in milliseconds (3.5ms)")
        return target.value * latency.latency_ms


@contextlib.contextmanager
def opened_bench(run: Run, images: Sequence[np.ndarray] | None, console: Console) -> Iterator[Bench]:
    """The devices of `run`; let go of in the end.

    Args:
        run: new, or to be resumed.
        images: calibrate int8 networks; None for noise.
        console: says what is waited for.

    Raises:
        UserError: a device cannot be used, is not the one that the run began on, or is not the table's.
    """
    section = run.config.latency
    names = [device.name for device in section.all_devices]
    if section.name == "recorded":
        assert section.run is not None
        yield Bench(run, {}, RecordedLatency.of_run(Path(section.run), names), None, {})
        return
    frozen, table = run.calibration(), _table(run)
    if taken := check_pools(section.all_devices):
        console.print(f"waiting   for pool {', '.join(taken)}: another search measures there", highlight=False)
    with contextlib.ExitStack() as stack:
        actors: dict[str, Any] = {}
        for device in section.all_devices:
            yardstick = _yardstick(frozen.devices.get(device.name) if frozen else None, table)
            actors[device.name] = device_actor(device, section, yardstick, images)
            stack.callback(end, actors[device.name])
        with console.status(f"calibrating {', '.join(names)} ..."):
            replies = {name: actor.calibration.remote() for name, actor in actors.items()}
            answers = {name: answer(name, reply) for name, reply in replies.items()}
        states = {name: DeviceState.from_dict(said) for name, said in answers.items()}
        for name, state in states.items():
            if table is not None:
                check_device(table, section.table or TABLE, state.device)
            if frozen is not None:
                _check_same(run.folder, name, frozen.devices.get(name), state.device)
        yield Bench(run, actors, None, table, states)


def _table(run: Run) -> LatencyTable | None:
    """The table of a run: its own copy once there is one."""
    section = run.config.latency
    if section.table is None:
        return None
    copy = run.folder / TABLE
    file = copy if run.calibration() is not None else Path(section.table)
    table, reference = read_table(file), resolve_network(section.reference)
    check_setting(table, str(file), deployment=section.deployment, num_classes=section.num_outputs, reference=reference)
    return table


def _yardstick(frozen: DeviceCalibration | None, table: LatencyTable | None) -> Yardstick | None:
    if frozen is not None and frozen.state is not None:
        return Yardstick(frozen.state.reference_ms, frozen.state.spread)
    return Yardstick(table.reference_ms) if table is not None else None


def _check_same(folder: Path, name: str, frozen: DeviceCalibration | None, now: DeviceInfo) -> None:
    if frozen is None or frozen.state is None:
        raise UserError(f"{folder}: the run did not begin on device {name!r}; restore its config.yaml")
    if difference := now.difference(frozen.state.device):
        raise UserError(
            f"{folder}: device {name!r} is another than the run began on ({difference}); latencies of the two cannot be "
            "mixed: resume it there, or begin a new run"
        )
