"""The tables of an adaptation's report as text cells, so that the terminal and the page cannot disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nas.accuracy import wilson_interval
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.final_network import FinalNetwork, trusted
from nas.netadapt.network_difference import Difference, trained_difference
from nas.netadapt.step_record import StepRecord
from nas.netadapt.trajectory_figure import NETWORKS
from nas.netadapt.words import cost_text, explanation, width_words
from nas.report_tables import TextTable, duration, latency_text, millions, percent
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from search_spaces.narrowing import groups_of

KEPT = "kept"
"""Heading of the share that is left of a width."""
_NONE = "-"


def points_text(mean: float, interval: tuple[float, float]) -> str:
    """A difference of accuracies: ``+0.42 points (95 %: +0.10 to +0.74)``."""
    low, high = interval
    return f"{100 * mean:+.2f} points (95 %: {100 * low:+.2f} to {100 * high:+.2f})"


def accuracy_text(accuracy: float, num_images: int, digits: int = 1) -> str:
    """An accuracy in percent with its 95 % interval over images."""
    low, high = wilson_interval(round(accuracy * num_images), num_images)
    return f"{percent(accuracy, digits)} ({100 * low:.1f} to {100 * high:.1f})"


def steps_table(record: AdaptRecord) -> TextTable:
    """The accepted steps with why they were."""
    headings = ("step", "what was narrowed, and why", "cost", "held-out accuracy", "change as judged, points", "time")
    return TextTable(headings, tuple(_step_row(record, step) for step in record.steps))


def _step_row(record: AdaptRecord, step: StepRecord) -> tuple[str, ...]:
    choice = step.choice
    change = f"{100 * choice.accuracy_change:+.2f}"
    return (
        str(step.step),
        explanation(step, record.unit, record.rule),
        cost_text(step.cost, record.unit),
        percent(step.accuracy, 2),
        f"{change} ± {100 * choice.half_width:.2f}" if choice.half_width else change,
        duration(step.seconds),
    )


def prediction_table(record: AdaptRecord) -> TextTable:
    """What each measured step saved of its parent's latency, predicted and measured."""
    rows = []
    for step in record.steps:
        if change := trusted(step.change):
            low, high = change.ratio_interval
            inside = "yes" if low <= step.predicted_ratio <= high else "no"
            interval = f"{percent(1 - change.ratio, 2)} ({100 * (1 - high):.2f} to {100 * (1 - low):.2f})"
            rows.append(
                (str(step.step), percent(1 - step.predicted_ratio, 2), interval, inside, latency_text(step.latency))
            )
    return TextTable(("step", "predicted saving", "measured saving", "inside the interval", "latency"), tuple(rows))


def prediction_sentence(record: AdaptRecord) -> str | None:
    """How well the table foretold the measurements; None where nothing was measured."""
    pairs = [(step.predicted_ratio, change) for step in record.steps if (change := trusted(step.change))]
    if not pairs:
        return None
    inside = sum(change.ratio_interval[0] <= ratio <= change.ratio_interval[1] for ratio, change in pairs)
    worst = max(abs(ratio / change.ratio - 1) for ratio, change in pairs)
    predicted = 1 - math.prod(ratio for ratio, _ in pairs)
    measured = 1 - math.prod(change.ratio for _, change in pairs)
    return (
        f"The predictions of {inside} of {len(pairs)} steps lie inside their measured intervals; the farthest is off by "
        f"{percent(worst)} of the latency. All together: predicted {percent(predicted)} saved, measured {percent(measured)}."
    )


def final_table(record: AdaptRecord) -> TextTable:
    """The final comparison, as it came: mean test accuracy of the trainings from scratch; that of the weights as left."""
    headings = ["network", "from scratch", "trainings", "fine-tuned"]
    headings += ["latency"] if record.unit == "ms" else ["cost", "latency"]
    return TextTable((*headings, "MACs", "params"), tuple(_final_row(record, network) for network in record.finals))


def summary_table(record: AdaptRecord) -> TextTable:
    """The final comparison for a terminal: half-widths instead of intervals, one cost."""
    rows = []
    for network in record.finals:
        cost = network.latency.latency_ms if network.latency and record.unit == "ms" else network.cost
        accuracies = (network.mean_correct, network.fine_tuned_correct)
        texts = [_half_width_text(correct, network.num_test) for correct in accuracies]
        rows.append((NETWORKS[network.name][0], cost_text(cost, record.unit), millions(network.params), *texts))
    return TextTable(("network", "cost", "params", "from scratch", "fine-tuned"), tuple(rows))


def _half_width_text(num_correct: float | None, num_test: int) -> str:
    """``81.4 ± 4.0 %``: over test images."""
    if num_correct is None:
        return _NONE
    low, high = wilson_interval(round(num_correct), num_test)
    return f"{100 * num_correct / num_test:.1f} ± {50 * (high - low):.1f} %"


def _final_row(record: AdaptRecord, network: FinalNetwork) -> tuple[str, ...]:
    correct, scratch = network.mean_correct, _NONE
    if correct is not None:
        scratch = accuracy_text(correct / network.num_test, network.num_test, 2)
    kept = _NONE
    if network.fine_tuned_correct is not None:
        kept = accuracy_text(network.fine_tuned_correct / network.num_test, network.num_test, 2)
    latency = latency_text(network.latency) if network.latency else _NONE
    costs = [latency] if record.unit == "ms" and network.latency else [cost_text(network.cost, record.unit)]
    costs += [] if record.unit == "ms" else [latency]
    trainings = str(len(network.trained)) if network.trained else _NONE
    sizes = (millions(network.macs), millions(network.params))
    return NETWORKS[network.name][0], scratch, trainings, kept, *costs, *sizes


def differences(record: AdaptRecord) -> list[tuple[FinalNetwork, Difference]]:
    """The adapted network against each other one that was trained as it was."""
    adapted = record.final("adapted")
    others = [network for network in record.finals if adapted and network.arch != adapted.arch]
    pairs = [(network, trained_difference(adapted, network)) for network in others] if adapted else []
    return [(network, difference) for network, difference in pairs if difference]


def differences_table(record: AdaptRecord) -> TextTable:
    """Which it is better than, and how sure that is."""
    rows = [
        (
            NETWORKS[network.name][0],
            found.verdict,
            points_text(found.mean, found.interval),
            f"{found.number} seeds" if found.over == "seeds" else "images",
        )
        for network, found in differences(record)
    ]
    return TextTable(("against", "it is", "difference", "interval over"), tuple(rows))


def widths_of(arch: str) -> dict[str, int]:
    """Name of a width that may be narrowed -> channels."""
    network = one_layer_blocks(parse_arch(arch))
    words = width_words(network)
    return {group.name: group.width for group in groups_of(network) if group.name in words}


def widths_table(record: AdaptRecord) -> TextTable:
    """Every width of the seed, of where the adaptation stands, and of the uniform multiplier."""
    words = width_words(one_layer_blocks(parse_arch(record.seed.arch)))
    seed, now = widths_of(record.seed.arch), widths_of(record.arch)
    kept = {name: percent(now[name] / width, 0) for name, width in seed.items()}
    columns: list[Mapping[str, object]] = [seed, now, kept]
    headings = ["width", "seed", "adapted" if record.reached else "so far", KEPT]
    if record.uniform:
        headings.append(f"uniform {record.uniform.multiplier:g}")
        columns.append(widths_of(record.uniform.arch))
    rows = tuple((text, *(str(column[name]) for column in columns)) for name, text in words.items())
    return TextTable(tuple(headings), rows)
