"""The tables of a report as text cells, so that the terminal and the page cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass

from latency.latency import Latency
from nas.report_record import RunRecord, measured


@dataclass(frozen=True, slots=True)
class TextTable:
    """Headings and rows of text, as many cells in each row as there are headings; the first column names the row."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction in percent."""
    return f"{100 * fraction:.{digits}f} %"


def millions(number: int) -> str:
    """A count in millions, three digits."""
    value = number / 1e6
    return f"{value:.0f} M" if value >= 100 else f"{value:.1f} M" if value >= 10 else f"{value:.2f} M"


def duration(seconds: float) -> str:
    """A time span in the two units that matter."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def latency_text(latency: Latency | None) -> str:
    """Milliseconds with their 95 % interval, and the status where it is not ``ok``."""
    if latency is None or latency.status == "failed":
        return "not measured"
    low, high = latency.interval_ms
    status = "" if latency.status == "ok" else f" {latency.status}"
    return f"{latency.latency_ms:.2f} ms ({low:.2f} to {high:.2f}){status}"


def front_table(record: RunRecord) -> TextTable:
    """The Pareto front, fastest first."""
    return TextTable(
        ("trial", record.config.evaluator.label.removeprefix("held-out "), "latency", "MACs", "params", "reward"),
        tuple(
            (
                str(t.number),
                percent(t.accuracy or 0.0),
                latency_text(t.latency),
                millions(t.macs),
                millions(t.params),
                f"{t.reward:.4f}",
            )
            for t in record.front
        ),
    )


def final_table(record: RunRecord) -> TextTable:
    """The final comparison: the winner and the published networks; with several devices, latencies on each at the end."""
    winner = record.final_winner
    yardstick = measured(winner) if winner else None
    devices = list(record.by_device)
    rows = []
    for finalist in record.finalists:
        latency = measured(finalist)
        low, high = finalist.accuracy_interval
        ratio = f"{latency.latency_ms / yardstick.latency_ms:.2f}" if latency and yardstick else "-"
        accuracy = f"{percent(finalist.accuracy)} ({100 * low:.1f} to {100 * high:.1f})"
        cells = [
            f"{finalist.name} (from the supernet's weights)" if finalist.inherited else finalist.name,
            accuracy,
            latency_text(latency),
            ratio,
            millions(finalist.macs),
            millions(finalist.params),
        ]
        rows.append((*cells, *(latency_text(finalist.measured_on(device)) for device in devices)))
    headings = ["network", "test accuracy", "latency", "x winner", "MACs", "params"]
    return TextTable((*headings, *(f"on {device}" for device in devices)), tuple(rows))
