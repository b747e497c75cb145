"""The report of an adaptation as one HTML page that needs nothing but itself."""

from __future__ import annotations

from html import escape

from nas.netadapt.adapt_headline import headline
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.adapt_tables import (
    KEPT,
    differences_table,
    final_table,
    prediction_sentence,
    prediction_table,
    steps_table,
    widths_table,
)
from nas.netadapt.trajectory_figure import final_test_figure, prediction_figure, trajectory_figure
from nas.report_page import document, figure_part, section, table_part, unbroken
from nas.report_tables import TextTable

_WRAPPED = "text-align: left; white-space: normal; min-width: 20em; width: 60%"
_FOOTER = (
    "Held-out accuracies are on training images that were kept aside; they chose the steps and flatter them. Test accuracies "
    "chose nothing. Intervals are 95 %."
)


def page(record: AdaptRecord) -> str:
    """The whole document."""
    parts = (
        headline(record),
        section("fig-trajectory", "Accuracy against cost", _trajectory(record)),
        section("fig-steps", "Step by step", _steps(record)),
        section("fig-prediction", "Predicted against measured", _prediction(record)),
        section("fig-final", "Final comparison", _final(record)),
        section("fig-widths", "Widths", _widths(record)),
    )
    return document(f"{record.name}: adaptation report", "".join(parts), _FOOTER)


def _note(text: str) -> str:
    return f"<p class='note'>{unbroken(text)}</p>"


def _trajectory(record: AdaptRecord) -> str:
    note = (
        "Each point is a network; rest on it for its figures. The way leads to the left, and up is better. Networks that are "
        "scored on the same images differ more surely than their own intervals say."
    )
    return _note(note) + figure_part(trajectory_figure(record), "plot-trajectory")


def _steps(record: AdaptRecord) -> str:
    if not record.steps:
        return _note("No step has been accepted so far.")
    signal = "accuracy" if record.config.judging.signal == "accuracy" else "the probability of the right class"
    note = (
        f"Each step accepts one proposal. Judged was {signal}, in points, against the parent that was trained as much without "
        "being changed; held-out accuracies are with the weights as they are kept."
    )
    return _note(note) + _wrapped_table(steps_table(record))


def _wrapped_table(table: TextTable) -> str:
    """A table whose second column is text that wraps."""
    head = "".join(
        f"<th{' class=left' if place == 1 else ''}>{escape(heading)}</th>"
        for place, heading in enumerate(table.headings)
    )
    rows = "".join(f"<tr>{''.join(map(_step_cell, range(len(row)), row))}</tr>" for row in table.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _step_cell(place: int, text: str) -> str:
    return f'<td style="{_WRAPPED}">{escape(text)}</td>' if place == 1 else f"<td>{escape(text)}</td>"


def _prediction(record: AdaptRecord) -> str:
    figure, sentence = prediction_figure(record), prediction_sentence(record)
    if figure is None or sentence is None:
        return _note("Nothing was measured step by step.")
    note = "Each accepted network was measured interleaved with its parent; predictions are as they were before that."
    return (
        f"<p>{unbroken(sentence)}</p>{_note(note)}{figure_part(figure, 'plot-prediction')}"
        f"{table_part(prediction_table(record))}"
    )


def _final(record: AdaptRecord) -> str:
    if not record.finals:
        return _note("Not made: it follows the last step.")
    note = (
        f"Test accuracies on {record.finals[0].num_test} images: trained from scratch by one recipe (the mean), and "
        "fine-tuned, with the weights that the adaptation left. Intervals are over test images; training again varies more."
    )
    marked = next((i for i, network in enumerate(record.finals) if network.name == "adapted"), None)
    found = _note(note) + table_part(final_table(record), marked)
    verdicts = differences_table(record)
    if verdicts.rows:
        found += f"<h3>Is it better?</h3>{table_part(verdicts)}"
    figure = final_test_figure(record)
    return found + (figure_part(figure, "plot-final") if figure else "")


def _widths(record: AdaptRecord) -> str:
    table = widths_table(record)
    place = table.headings.index(KEPT)
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    rows = "".join(_width_row(row, place) for row in table.rows)
    body = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    changed = sum(row[1] != row[2] for row in table.rows)
    note = f"{changed} of {len(table.rows)} widths were narrowed; blocks are those of the seed with a layer a block."
    return _note(note) + body


def _width_row(row: tuple[str, ...], place: int) -> str:
    """A width; the cell at `place`, a share in percent, with a bar."""
    share = row[place].removesuffix(" %")
    cells = [f"<td>{escape(cell)}</td>" for cell in row]
    cells[place] = (
        f"<td><span class='bar'><i style='width:{share}%'></i></span><span class='share'>{row[place]}</span></td>"
    )
    return f"<tr{' class=winner' if row[1] != row[2] else ''}>{''.join(cells)}</tr>"
