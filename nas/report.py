"""What is left of a search: ``pareto.csv``, ``report.html``, and a summary on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.report_headline import device_text
from nas.report_page import page
from nas.report_record import RunRecord
from nas.report_tables import TextTable, final_table, front_table
from nas.trial import Trial

COLUMNS = (
    "device",
    "trial",
    "accuracy",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "reward",
    "macs",
    "params",
    "arch",
    "key",
)
"""Of ``pareto.csv``; a row is a network of a device's front, fastest first; devices in the order of the recipe."""

_OUTPUTS = ("best/arch.json", "best/model.onnx", "pareto.csv", "report.html", "trials.jsonl")


def write_report(folder: Path) -> None:
    """Write ``pareto.csv`` and ``report.html`` of a run, finished or not.

    Raises:
        UserError: not a run folder, or one stopped before its first trial.
    """
    record = RunRecord.read(folder)
    write_text(folder / "pareto.csv", fronts_frame(record).to_csv(index=False))
    write_text(folder / "report.html", page(record))


def fronts_frame(record: RunRecord) -> pd.DataFrame:
    """The fronts as a table of `COLUMNS`: one for each device."""
    records = record.by_device or {record.devices[0]: record}
    rows = [_row(device, trial) for device, seen in records.items() for trial in seen.front]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(device: str, trial: Trial) -> tuple[object, ...]:
    low_ms, high_ms = trial.latency.interval_ms if trial.latency else (None, None)
    figures = (trial.accuracy, trial.latency_ms, low_ms, high_ms, trial.reward, trial.macs, trial.params)
    return (device, trial.number, *figures, str(trial.arch), trial.arch.key)


def write_text(path: Path, text: str) -> None:
    """Write `text` whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def print_summary(folder: Path, console: Console) -> None:
    """Print the front, the final comparison, where the reward's spread came from, and what was written where.

    Raises:
        UserError: as `write_report`.
    """
    record = RunRecord.read(folder)
    _print_fronts(record, console)
    if record.finalists:
        console.print(rich_table(final_table(record), "Final comparison (with 95 % intervals)"))
    for name, calibration in record.calibration.devices.items():
        console.print(Text(f"{name}: {device_text(record, calibration)}"))
    console.print(Text(f"latencies: {record.sources}"))
    if record.networks:
        console.print(Text(record.spread.sentence))
    if record.spread.warning:
        console.print(Text(f"warning: {record.spread.warning}", style="yellow"))
    if record.failures:
        reason, number = record.failures[0]
        text = f"warning: {record.num_failed} of {record.num_distinct} networks failed, {number} of them with: {reason}"
        console.print(Text(text, style="yellow"))
    for name in _OUTPUTS:
        if (folder / name).is_file():
            console.print(str(folder / name), highlight=False, markup=False, soft_wrap=True)


def _print_fronts(record: RunRecord, console: Console) -> None:
    if not record.front:
        console.print("no trial has succeeded", style="yellow")
    elif not record.by_device:
        console.print(rich_table(front_table(record), "Pareto front (with 95 % intervals)"))
    for name, seen in record.by_device.items():
        if seen.front:
            console.print(rich_table(front_table(seen), f"Pareto front on {name} (with 95 % intervals)"))


def rich_table(table: TextTable, title: str, justify: Literal["left", "right"] = "right") -> Table:
    """`table` for a terminal; `justify` is of all columns but the first."""
    first, *others = table.headings
    rich = Table(title=title, title_justify="left")
    rich.add_column(first, overflow="fold")
    for heading in others:
        rich.add_column(heading, justify=justify, overflow="fold")
    for row in table.rows:
        rich.add_row(*map(Text, row))
    return rich
