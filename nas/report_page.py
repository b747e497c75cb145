"""The report as one HTML page that needs nothing but itself: plotly.js and all styles are inside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

import nas
from nas.report_figures import accuracy_view, final_figure, pareto_figure, trials_figure
from nas.report_headline import headline
from nas.report_layers import LayerCost, layer_costs
from nas.report_preferences import preferences_section
from nas.report_record import RunRecord, Spread
from nas.report_style import CSS
from nas.report_tables import TextTable, final_table, front_table, millions, percent

_CONFIG = {"responsive": True, "displayModeBar": False}
# A finger that scrolls over a figure must not zoom it
_TOUCH = (
    "if (matchMedia('(pointer: coarse)').matches) document.querySelectorAll('.js-plotly-plot')"
    ".forEach(plot => Plotly.relayout(plot, {dragmode: false}));"
)


def page(record: RunRecord) -> str:
    """The whole document."""
    sections = (
        section("fig-pareto", "Accuracy against latency", _all_pareto(record)),
        section("fig-trials", "Over the trials", _trials(record)),
        section("fig-spread", "Where the reward's spread came from", _spread(record.spread)),
        section("fig-preferences", "What the controller learned to prefer", preferences_section(record)),
        section("fig-final", "Final comparison", _final(record)),
        section("fig-layers", "The winner, layer by layer", _layers(record)),
    )
    body = f"{headline(record)}{''.join(sections)}"
    return document(f"{record.name}: search report", body, _about_accuracies(record))


def document(title: str, body: str, footer: str) -> str:
    """A page that needs nothing but itself: `body` and `footer` are HTML, `title` is text."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>{body}"
        f"<footer>Written by nas {escape(nas.__version__)}. {footer}</footer></main>"
        f"<script>{_TOUCH}</script></body></html>\n"
    )


def _about_accuracies(record: RunRecord) -> str:
    label, where = record.config.evaluator.label, "Accuracies are on held-out training images"
    if record.config.evaluator.name in ("supernet", "one_shot"):
        where = f"Accuracies are each network's {escape(label)} (the geometric mean of the right class's probability)"
    if record.config.evaluator.name == "zero_cost":
        where = f"Accuracies are each untrained network's {escape(label)} by {escape(record.config.evaluator.score)}"
    if record.config.evaluator.name == "table":
        where = f"Accuracies are {escape(label)}, predicted by a surrogate that was fitted on a table,"
    return (
        f"{where} unless they are called test accuracies; intervals are 95 %. {escape(label[0].upper() + label[1:])} of the "
        "winner is the best of many and therefore flatters; its test accuracy does not."
    )


def section(identity: str, title: str, body: str) -> str:
    """A card with a heading; `body` is HTML."""
    return f'<section id="{identity}"><h2>{escape(title)}</h2>{body}</section>'


def unbroken(text: str) -> str:
    """Escaped text whose percentages stay in one piece."""
    return escape(text).replace(" %", "&nbsp;%")


def figure_part(figure: go.Figure, identity: str) -> str:
    """A figure as a part of a page."""
    text: str = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=identity, config=_CONFIG, default_width="100%"
    )
    return f'<div class="plot">{text}</div>'


def table_part(table: TextTable, marked_row: int | None = None) -> str:
    """A table of text; one row may be marked."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    rows = "".join(
        f"<tr{' class=winner' if number == marked_row else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for number, row in enumerate(table.rows)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _all_pareto(record: RunRecord) -> str:
    """The front; with several devices the front on each, rewards there being those of the device alone."""
    if not record.by_device or not record.networks:
        return _pareto(record, "plot-pareto")
    return "".join(
        f"<h3>On {escape(name)}</h3>{_pareto(seen, f'plot-pareto-{number}')}"
        for number, (name, seen) in enumerate(record.by_device.items())
    )


def _pareto(record: RunRecord, identity: str) -> str:
    figure = pareto_figure(record)
    if figure is None:
        return "<p class='note'>No trial has succeeded so far.</p>"
    floor, _ = accuracy_view(record)
    hidden = sum((t.accuracy or 0.0) < floor for t in record.networks)
    note = "Each point is a network; rest on it for its figures. Up and to the left is better."
    if hidden:
        note += (
            f" {hidden} with accuracy below {percent(max(floor, 0))} lie under the picture: double-click to see all."
        )
    winner = next((i for i, t in enumerate(record.front) if record.winner and t.number == record.winner.number), None)
    return (
        f"<p class='note'>{unbroken(note)}</p>{figure_part(figure, identity)}{table_part(front_table(record), winner)}"
    )


def _trials(record: RunRecord) -> str:
    figure = trials_figure(record)
    if figure is None:
        return "<p class='note'>No trial has succeeded so far.</p>"
    lost = " Dotted red lines are trials that failed." if record.failures else ""
    return (
        f"<p class='note'>Is the controller getting better at it? The dashed line is the target.{lost}</p>"
        + figure_part(figure, "plot-trials")
    )


def _spread(spread: Spread) -> str:
    if spread.percents is None:
        return f"<p>{unbroken(spread.sentence)}</p>"
    total = sum(map(abs, spread.percents))
    bars = []
    for name, share in zip(("accuracy", "latency"), spread.percents, strict=True):
        width = 100 * abs(share) / total
        classes = f"{name}{' against' if share < 0 else ''}{' tight' if width < 18 else ''}"
        label = f"{name} {share} %" if width >= 18 else ""
        bars.append(f"<div class='{classes}' style='width:{width:.2f}%' title='{name} {share} %'>{label}</div>")
    warning = f"<div class='warning'>{escape(spread.warning)}</div>" if spread.warning else ""
    return f"<p>{unbroken(spread.sentence)}</p><div class='split'>{''.join(bars)}</div>{warning}"


def _final(record: RunRecord) -> str:
    figure = final_figure(record)
    if figure is None:
        return "<p class='note'>Not made: it follows the last trial, where the recipe has one.</p>"
    winner = next((i for i, f in enumerate(record.finalists) if f is record.final_winner), None)
    num_test = record.finalists[0].num_test
    note = (
        f"All networks trained alike from scratch and tested once on {num_test} images. Accuracy intervals are over test "
        "images only; training again with another seed varies more. Parameters are for the classes of the data set."
    )
    return f"<p class='note'>{note}</p>{table_part(final_table(record), winner)}{figure_part(figure, 'plot-final')}"


def _layers(record: RunRecord) -> str:
    if record.winner is None:
        return "<p class='note'>No trial has succeeded so far.</p>"
    section = record.config.latency
    costs = layer_costs(record.winner.arch, section.resolution, section.num_outputs, record.kernels_us)
    total_us = sum(cost.time_us or 0.0 for cost in costs)
    headings = ["layer", "kind", "kernel", "stride", "output", "params", "MACs", "share of MACs"]
    note = f"At {section.resolution} px and {section.num_outputs} classes, as it was measured."
    if total_us:
        headings.append("share of latency")
        note += f" Times are of the operations under the profiler, {total_us / 1000:.2f} ms in all."
    head = "".join(f"<th{' class=left' if h in ('layer', 'kind') else ''}>{h}</th>" for h in headings)
    rows = "".join(_layer_row(cost, costs) for cost in costs)
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<p class='note'>{note}</p>{table}"


def _layer_row(cost: LayerCost, costs: list[LayerCost]) -> str:
    kernel = f"{cost.kernel}x{cost.kernel}" if cost.kernel else "-"
    shape = "x".join(map(str, cost.shape)) if cost.shape else "-"
    texts = [kernel, str(cost.stride or "-"), shape, f"{cost.params:,}", millions(cost.macs)]
    cells = [f"<td>{escape(cost.name)}</td>", f"<td class='left'>{escape(cost.kind)}</td>"]
    cells += [f"<td>{escape(text)}</td>" for text in texts]
    cells.append(bar_cell(cost.macs, [other.macs for other in costs], "", millions(cost.macs)))
    times_us = [other.time_us or 0.0 for other in costs]
    if any(times_us):
        time_us = cost.time_us or 0.0
        cells.append(bar_cell(time_us, times_us, " time", f"{time_us:.0f} us"))
    return f"<tr>{''.join(cells)}</tr>"


def bar_cell(value: float, column: Sequence[float], kind: str, hover: str) -> str:
    """A cell with the share of `value` in its column, and a bar that the column's largest value fills."""
    bar = f"<span class='bar{kind}'><i style='width:{100 * value / max(column):.1f}%'></i></span>"
    return f"<td title='{escape(hover)}'>{bar}<span class='share'>{percent(value / sum(column))}</span></td>"
