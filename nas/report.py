"""What is left of a search: ``pareto.csv``, ``report.html``, and a summary on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.report_page import page
from nas.report_record import RunRecord
from nas.report_tables import TextTable, final_table, front_table
from nas.trial import Trial

COLUMNS = (
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
"""Of ``pareto.csv``; a row is a network of the front, fastest first."""

_OUTPUTS = ("best/arch.json", "best/model.onnx", "pareto.csv", "report.html", "trials.jsonl")


def write_report(folder: Path) -> None:
    """Write ``pareto.csv`` and ``report.html`` of a run, finished or not.

    Raises:
        UserError: not a run folder, or one stopped before its first trial.
    """
    record = RunRecord.read(folder)
    _write(folder / "pareto.csv", front_frame(record.front).to_csv(index=False))
    _write(folder / "report.html", page(record))


def front_frame(front: Sequence[Trial]) -> pd.DataFrame:
    """The front as a table of `COLUMNS`."""
    rows = []
    for trial in front:
        low_ms, high_ms = trial.latency.interval_ms if trial.latency else (None, None)
        figures = (
            trial.number,
            trial.accuracy,
            trial.latency_ms,
            low_ms,
            high_ms,
            trial.reward,
            trial.macs,
            trial.params,
        )
        rows.append((*figures, str(trial.arch), trial.arch.key))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def print_summary(folder: Path, console: Console) -> None:
    """Print the front, the final comparison, where the reward's spread came from, and what was written where.

    Raises:
        UserError: as `write_report`.
    """
    record = RunRecord.read(folder)
    if record.front:
        console.print(_rich(front_table(record), "Pareto front (with 95 % intervals)"))
    else:
        console.print("no trial has succeeded", style="yellow")
    if record.finalists:
        console.print(_rich(final_table(record), "Final comparison (with 95 % intervals)"))
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


def _rich(table: TextTable, title: str) -> Table:
    first, *others = table.headings
    rich = Table(first, title=title, title_justify="left")
    for heading in others:
        rich.add_column(heading, justify="right")
    for row in table.rows:
        rich.add_row(*map(Text, row))
    return rich
