"""The device of an adaptation, opened: its table, its meter, the latency of the seed, which is measured once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from latency.device_info import DeviceInfo
from latency.latency import Latency
from latency.meter import GRADES, Grade
from latency.meter_process import MeasuringError
from latency.metered import Meter, MeteredLatency
from latency.table import LatencyTable
from nas.errors import UserError
from nas.latency_table import keep_table, read_table
from nas.netadapt.adapt_run import AdaptRun
from nas.netadapt.corrected_prices import Measured
from nas.netadapt.measured_cost import MeasuredCost
from nas.netadapt.own_table import metered_by, table_for
from nas.netadapt.step_record import StepRecord
from nas.opened_meter import opened_meter
from nas.run import TABLE
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch

FORMAT = "nas-adapt-device"
VERSION = 1
RECORD = "device"

SEED_GRADE = GRADES["final"]
"""Of L, to which all budgets refer."""

STEP_GRADE = Grade(GRADES["search"].settings, num_processes=3)
"""Of each step: some 5 s against the reference, and as long beside its parent."""


@dataclass(frozen=True)
class Device:
    """Where networks are measured.

    Attributes:
        seed: the network that the adaptation begins with.
        seed_latency: as it was measured when the adaptation began.
        table: prices before anything was measured.
        metered: measures.
    """

    seed: ArchSpec
    seed_latency: Latency
    table: LatencyTable
    metered: MeteredLatency

    def latencies(self, steps: Sequence[StepRecord] = ()) -> MeasuredCost:
        """Prices of latencies that know the seed and these steps, which followed one another from it."""
        measured = [Measured(self.seed, self.seed_latency)]
        for step in steps:
            assert step.latency is not None
            assert step.change is not None
            measured.append(Measured(parse_arch(step.arch), step.latency, step.change))
        return MeasuredCost(self.table, self.metered, measured, grade=STEP_GRADE)


@contextlib.contextmanager
def opened_device(run: AdaptRun, num_classes: int, console: Console) -> Iterator[Device | None]:
    """The device, as the run needs it; None where no budget is of latency. Measures the seed when the run is new.

    Args:
        run: keeps the table and the seed's latency.
        num_classes: of the deployed network.
        console: shows the making of a table.

    Raises:
        UserError: the table or the run is of another device, or it cannot measure.
    """
    if not run.config.prices_latency:
        yield None
        return
    try:
        with opened_meter(run.config.latency) as meter:
            table = _table(run, meter, num_classes, console)
            source = metered_by(table, meter)
            yield Device(run.config.arch, _seed_latency(run, table, source, meter.device, console), table, source)
    except MeasuringError as error:
        raise UserError(
            f"{run.folder}: measuring failed: {error}; go on with nas adapt --resume {run.folder}"
        ) from None


def _table(run: AdaptRun, meter: Meter, num_classes: int, console: Console) -> LatencyTable:
    """The run's own copy, once there is one: the one that it was given, or one that is made for its network."""
    copy, section = run.folder / TABLE, run.config.latency
    if copy.is_file():
        table, source = read_table(copy), str(copy)
    elif section.table is not None:
        table, source = read_table(Path(section.table)), section.table
    else:
        table, source = table_for(run.config.arch, meter, num_classes, console), "the network's own table"
    if difference := table.device.difference(meter.device):
        raise UserError(
            f"{source}: of another device than this one ({difference}); adapt there, or leave the table out"
        )
    if not copy.is_file():
        keep_table(table, copy)
    return table


def _seed_latency(
    run: AdaptRun, table: LatencyTable, source: MeteredLatency, device: DeviceInfo, console: Console
) -> Latency:
    """L: measured once, then remembered with the device."""
    found = run.read(RECORD)
    if found is None:
        with console.status(f"measuring {run.config.network.name} ..."):
            latency = MeasuredCost(table, source, grade=SEED_GRADE).seed(run.config.arch)
        found = {
            "format": FORMAT,
            "version": VERSION,
            "device": device.to_dict(),
            "reference_ms": source.reference.reference_ms,
            "seed": latency.to_dict(),
        }
        run.write(RECORD, found)
    if difference := device.difference(DeviceInfo.from_dict(found["device"])):
        raise UserError(
            f"{run.folder}: begun on another device ({difference}); latencies of the two cannot be mixed: resume it there, "
            "or begin a new run"
        )
    return Latency.from_dict(found["seed"])
