"""What is left of a reproduction: ``report.html``, and a summary on the terminal."""

from __future__ import annotations

from html import escape
from pathlib import Path

from rich.console import Console
from rich.text import Text

from nas.report import rich_table, write_text
from nas.report_page import document, figure_part, section, table_part, unbroken
from nas.report_tables import TextTable, latency_text
from nas.reproduction.reproduce_figure import final_figure
from nas.reproduction.reproduce_record import FOUND, ReproduceRecord
from nas.reproduction.reproduce_run import ADAPT, LANDING, RANDOM, SEARCH
from nas.reproduction.reproduce_tables import (
    differences_table,
    final_table,
    int8_table,
    redesign_table,
    shortlist_table,
    stages_table,
    widths_table,
)
from nas.reproduction.shortlisted import best_of

_FOOTER = (
    "Test accuracies are the mean of the trainings, with 95 % intervals over test images; differences are paired by the seed "
    "of the training, with 95 % intervals over seeds. Latencies are measured on this machine against one reference network."
)


def outcome(record: ReproduceRecord) -> str:
    """What came out, in a sentence or two."""
    if record.arch is None or record.latency is None or record.target_ms is None:
        return f"{record.name} is under way."
    off = 100 * (record.latency.latency_ms / record.target_ms - 1)
    text = f"Found: {latency_text(record.latency)}, {off:+.1f} % from the target of {record.target_ms:.3f} ms."
    against = next((found for other, found in record.differences if other.name == record.to_beat), None)
    if against is None:
        return text
    low, high = against.interval
    return (
        f"{text} Against {record.to_beat}, trained alike: {100 * against.mean:+.2f} points of test accuracy "
        f"({100 * low:+.2f} to {100 * high:+.2f}): {against.verdict}."
    )


def write_reproduce_report(folder: Path) -> None:
    """Write ``report.html`` of a run of ``nas reproduce``, finished or not.

    Raises:
        UserError: as `ReproduceRecord.read`.
    """
    write_text(folder / "report.html", page(ReproduceRecord.read(folder)))


def print_reproduce_summary(folder: Path, console: Console) -> None:
    """Print what came out, and the tables of the report.

    Raises:
        UserError: as `ReproduceRecord.read`.
    """
    record = ReproduceRecord.read(folder)
    console.print(Text(outcome(record)))
    for title, table in _tables(record):
        console.print(rich_table(table, title))
    if (folder / "report.html").is_file():
        console.print(str(folder / "report.html"), highlight=False, markup=False, soft_wrap=True)


def _tables(record: ReproduceRecord) -> list[tuple[str, TextTable]]:
    tables = [
        ("Stages", stages_table(record)),
        ("Shortlist of the search", shortlist_table(record.shortlist)),
        ("Redesign", redesign_table(record)),
        ("Test accuracy, trained alike from scratch", final_table(record)),
        ("Is it better? Points of accuracy", differences_table(record)),
        ("Quantised", int8_table(record)),
    ]
    widths = widths_table(record)
    return [(title, table) for title, table in tables if table.rows] + ([("Expansions", widths)] if widths else [])


def page(record: ReproduceRecord) -> str:
    """The whole document."""
    parts = [
        f"<h1>{escape(record.name)}</h1><p class='lead'>{unbroken(outcome(record))}</p>",
        f"<p class='note'>{_links(record)}</p>" if _links(record) else "",
        section("fig-final", "Final comparison", _final(record)),
        section("fig-stages", "Stage by stage", _part(stages_table(record), "No stage is done so far.")),
    ]
    if record.shortlist:
        parts.append(section("fig-shortlist", "Which trial is the seed", _shortlists(record)))
    if record.config.redesign.edits:
        edits = _part(redesign_table(record), "No edit has been tried so far.")
        parts.append(section("fig-redesign", "The edits by hand", edits))
    if widths := widths_table(record):
        parts.append(section("fig-widths", "Expansions: here and as published", table_part(widths)))
    parts.append(section("fig-int8", "Quantised", _part(int8_table(record), "Nothing was quantised.")))
    if record.arch:
        parts.append(section("fig-network", "The network", f"<p><code>{escape(record.arch)}</code></p>"))
    return document(f"{record.name}: reproduction report", "".join(parts), _FOOTER)


def _shortlists(record: ReproduceRecord) -> str:
    """Of the search, and of the random one."""
    text = ""
    for entries, heading in ((record.shortlist, ""), (record.random_shortlist, "<h3>Of the random search</h3>")):
        if entries:
            text += heading + table_part(shortlist_table(entries), entries.index(best_of(entries)))
    return text


def _part(table: TextTable, otherwise: str) -> str:
    return table_part(table) if table.rows else f"<p class='note'>{otherwise}</p>"


def _links(record: ReproduceRecord) -> str:
    """To the reports of the stages."""
    names = {SEARCH: "the search", ADAPT: "NetAdapt", LANDING: "NetAdapt to the target", RANDOM: "the random search"}
    there = [(stage, text) for stage, text in names.items() if (record.folder / stage / "report.html").is_file()]
    return "Reports of " + ", ".join(f"<a href='{s}/report.html'>{t}</a>" for s, t in there) + "." if there else ""


def _final(record: ReproduceRecord) -> str:
    figure = final_figure(record)
    if figure is None:
        return "<p class='note'>Not made: it follows the last stage.</p>"
    marked = next((i for i, network in enumerate(record.networks) if network.name == FOUND), None)
    text = figure_part(figure, "plot-final") + table_part(final_table(record), marked)
    verdicts = differences_table(record)
    return text + (f"<h3>Is it better?</h3>{table_part(verdicts)}" if verdicts.rows else "")
