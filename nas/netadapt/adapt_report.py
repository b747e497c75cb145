"""What is left of an adaptation: ``trajectory.csv``, ``report.html``, and a summary on the terminal."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from latency.latency import Latency
from nas.netadapt.adapt_headline import outcome, warnings
from nas.netadapt.adapt_page import page
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.adapt_tables import differences_table, prediction_sentence, summary_table
from nas.netadapt.final_network import trusted
from nas.netadapt.step_record import StepRecord
from nas.report import rich_table, write_text

COLUMNS = (
    "trajectory",
    "step",
    "group",
    "kind",
    "before",
    "after",
    "asked",
    "predicted",
    "cost",
    "unit",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "predicted_ratio",
    "measured_ratio",
    "ratio_low",
    "ratio_high",
    "accuracy",
    "num_images",
    "accuracy_change",
    "half_width",
    "tied",
    "seconds",
    "arch",
)
"""Of ``trajectory.csv``; a row is a network: the seed (step 0), each accepted step, each step of the random baseline."""

_OUTPUTS = ("trajectory.csv", "report.html", "steps.jsonl")


def write_adapt_report(folder: Path) -> None:
    """Write ``trajectory.csv`` and ``report.html`` of a run of ``nas adapt``, finished or not.

    Raises:
        UserError: as `AdaptRecord.read`.
    """
    record = AdaptRecord.read(folder)
    write_text(folder / "trajectory.csv", trajectory_frame(record).to_csv(index=False))
    write_text(folder / "report.html", page(record))


def trajectory_frame(record: AdaptRecord) -> pd.DataFrame:
    """The networks as a table of `COLUMNS`; what is not known is empty."""
    seed = record.seed
    first = {
        "trajectory": "adapted",
        "step": 0,
        "cost": seed.cost,
        "accuracy": seed.accuracy,
        "num_images": seed.num_images,
        "arch": seed.arch,
        **_milliseconds(seed.latency),
    }
    rows = [first, *(_row("adapted", s) for s in record.steps), *(_row("random", s) for s in record.random)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).assign(unit=record.unit)
    return frame.astype(dict.fromkeys(("before", "after"), "Int64"))


def _row(trajectory: str, step: StepRecord) -> dict[str, object]:
    choice = step.choice
    names = ("step", "asked", "predicted", "cost", "predicted_ratio", "accuracy", "num_images", "seconds", "arch")
    row: dict[str, object] = {name: getattr(step, name) for name in names}
    row |= {
        name: getattr(choice, name) for name in ("group", "kind", "before", "after", "accuracy_change", "half_width")
    }
    row |= {"trajectory": trajectory, "tied": " ".join(step.tied), **_milliseconds(step.latency)}
    if change := trusted(step.change):
        low, high = change.ratio_interval
        row |= {"measured_ratio": change.ratio, "ratio_low": low, "ratio_high": high}
    return row


def _milliseconds(latency: Latency | None) -> dict[str, float]:
    if not (measured := trusted(latency)):
        return {}
    low, high = measured.interval_ms
    return {"latency_ms": measured.latency_ms, "latency_low_ms": low, "latency_high_ms": high}


def print_adapt_summary(folder: Path, console: Console) -> None:
    """Print what came out, the final comparison, how well prices foretold measurements, and what was written where.

    Raises:
        UserError: as `AdaptRecord.read`.
    """
    record = AdaptRecord.read(folder)
    console.print(Text(outcome(record)))
    if record.finals:
        console.print(rich_table(summary_table(record), "Test accuracy (95 % intervals)"))
    if (verdicts := differences_table(record)).rows:
        console.print(rich_table(verdicts, "Is the adapted network better? Points of accuracy, trained from scratch"))
    if sentence := prediction_sentence(record):
        console.print(Text(sentence))
    for warning in warnings(record):
        console.print(Text(f"warning: {warning}", style="yellow"))
    for name in _OUTPUTS:
        if (folder / name).is_file():
            console.print(str(folder / name), highlight=False, markup=False, soft_wrap=True)
