"""The figures of an adaptation's report, in plotly: its way down, prices against measurements, the final comparison."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from nas.accuracy import wilson_interval
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.final_network import FinalNetwork, NetworkName, trusted
from nas.netadapt.step_record import StepRecord
from nas.netadapt.words import cost_text, explanation
from nas.report_figures import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    RED,
    STAR,
    TEAL,
    add_target,
    first_view,
    laid_out,
    percent_ticks,
)
from nas.report_tables import latency_text, percent

NETWORKS: dict[str, tuple[str, str, str]] = {
    "seed": ("seed", INK, "square"),
    "uniform": ("uniform multiplier", TEAL, "diamond"),
    "random": ("random steps", MUTED, "circle"),
    "adapted": ("adapted", RED, "star"),
}
"""Name -> words, colour, marker; in the order in which they are drawn and listed."""
_UNITS: dict[str, tuple[float, str]] = {
    "ms": (1.0, "latency in ms"),
    "MACs": (1e6, "million multiply-adds"),
    "params": (1e6, "million parameters"),
    "x budget": (1.0, "largest share of a budget"),
}
"""Unit -> so much of it is 1 on the axis, title of the axis."""
_LEGEND = {"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0}
_MARGIN = {"l": 10, "r": 10, "t": 40, "b": 10}
_HOVER = "%{text}<extra></extra>"
_WRAP = "; "
"""Where a hover text may break."""


def trajectory_figure(record: AdaptRecord) -> go.Figure:
    """Held-out accuracy against cost: the seed, each step, the baselines, the target."""
    scale, title = _UNITS[record.unit]
    seed = record.seed
    figure = go.Figure()
    if record.random:
        figure.add_trace(_way(record, record.random, "random", f"{NETWORKS['random'][0]}, for comparison"))
    if record.steps:
        figure.add_trace(_way(record, record.steps, record.rule, "accepted steps"))
    figure.add_trace(_network(record, "seed", seed.cost, seed.accuracy, seed.num_images))
    shown = [seed.accuracy]
    if record.uniform:
        uniform = record.uniform
        figure.add_trace(_network(record, "uniform", uniform.cost, uniform.accuracy, uniform.num_images))
        shown.append(uniform.accuracy)
    if record.steps:
        last = record.steps[-1]
        figure.add_trace(_network(record, "adapted", last.cost, last.accuracy, last.num_images))
        shown.append(last.accuracy)
    add_target(figure, seed.target / scale, f"target {cost_text(seed.target, record.unit)}")
    view = first_view([step.accuracy for step in (*record.steps, *record.random)] + shown, shown)
    figure.update_yaxes(title="held-out accuracy", tickformat=percent_ticks(view), range=view)
    figure.update_xaxes(title=title)
    return laid_out(figure, 520, legend=_LEGEND, margin=_MARGIN)


def _way(record: AdaptRecord, steps: Sequence[StepRecord], rule: str, name: str) -> go.Scatter:
    """A line from the seed over `steps`."""
    scale, seed = _UNITS[record.unit][0], record.seed
    colour, dash = (MUTED, "dot") if rule == "random" else (BLUE, "solid")
    return go.Scatter(
        x=[cost / scale for cost in (seed.cost, *(step.cost for step in steps))],
        y=[seed.accuracy, *(step.accuracy for step in steps)],
        text=["", *(_step_hover(step, record.unit, rule) for step in steps)],
        hovertemplate=_HOVER,
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 7, "color": colour, "line": {"color": "white", "width": 1}},
    )


def _step_hover(step: StepRecord, unit: str, rule: str) -> str:
    words = explanation(step, unit, rule)
    lines = [f"accuracy {percent(step.accuracy)}, {cost_text(step.cost, unit)}", *words.split(_WRAP)]
    return "<br>".join([f"<b>step {step.step}</b>", *map(html.escape, lines)])


def _network(record: AdaptRecord, name: NetworkName, cost: float, accuracy: float, num_images: int) -> go.Scatter:
    """One network with its 95 % interval over images."""
    words, colour, symbol = NETWORKS[name]
    low, high = wilson_interval(round(accuracy * num_images), num_images)
    text = f"<b>{words}</b><br>accuracy {percent(accuracy)} (95 %: {100 * low:.1f} to {100 * high:.1f})"
    return go.Scatter(
        x=[cost / _UNITS[record.unit][0]],
        y=[accuracy],
        text=[f"{text}<br>{cost_text(cost, record.unit)}"],
        hovertemplate=_HOVER,
        mode="markers",
        name=words,
        marker=STAR if name == "adapted" else {"size": 12, "color": colour, "symbol": symbol},
    )


def prediction_figure(record: AdaptRecord) -> go.Figure | None:
    """What each step saved of its parent's latency: by the table as it was then, and measured; None where nothing was."""
    steps = [(step, change) for step in record.steps if (change := trusted(step.change))]
    if not steps:
        return None
    numbers = [step.step for step, _ in steps]
    saved = [1 - change.ratio for _, change in steps]
    measured = go.Scatter(
        x=numbers,
        y=saved,
        mode="markers",
        name="measured, with 95 % interval",
        marker={"size": 9, "color": BLUE},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [change.ratio - change.ratio_interval[0] for _, change in steps],
            "arrayminus": [change.ratio_interval[1] - change.ratio for _, change in steps],
            "color": BLUE,
            "thickness": 1.5,
            "width": 4,
        },
        hovertemplate="step %{x}: measured %{y:.2%}<extra></extra>",
    )
    predicted = go.Scatter(
        x=numbers,
        y=[1 - step.predicted_ratio for step, _ in steps],
        mode="markers",
        name="predicted",
        marker={"size": 13, "color": ORANGE, "symbol": "line-ew-open", "line": {"width": 3}},
        hovertemplate="step %{x}: predicted %{y:.2%}<extra></extra>",
    )
    figure = go.Figure([measured, predicted])
    figure.add_hline(y=0, line={"color": "#c3cad4", "width": 1})
    figure.update_yaxes(title="saved of the parent's latency", tickformat=".1%")
    figure.update_xaxes(title="step", dtick=1 if len(steps) <= 20 else None)
    return laid_out(figure, 380, legend=_LEGEND | {"y": -0.24}, margin=_MARGIN)


def final_test_figure(record: AdaptRecord) -> go.Figure | None:
    """Test accuracies, trained from scratch, against latency, or cost where none was measured; None without a training."""
    networks = [network for network in record.finals if network.trained]
    if not networks:
        return None
    timed = all(trusted(network.latency) for network in networks)
    figure = go.Figure()
    for network in networks:
        figure.add_traces(_trainings(record, network, timed=timed))
    values = [accuracy for network in networks for accuracy in network.accuracies.values()]
    view = first_view(values, [min(values)])
    figure.update_yaxes(title="test accuracy", tickformat=percent_ticks(view), range=view)
    figure.update_xaxes(title=_UNITS["ms" if timed else record.unit][1])
    return laid_out(figure, 420, legend=_LEGEND | {"y": -0.22}, margin=_MARGIN)


def _trainings(record: AdaptRecord, network: FinalNetwork, *, timed: bool) -> list[go.Scatter]:
    """A small point for each seed, a large one for their mean."""
    words, colour, symbol = NETWORKS[network.name]
    latency = trusted(network.latency) if timed else None
    x = latency.latency_ms if latency else network.cost / _UNITS[record.unit][0]
    where = latency_text(latency) if latency else cost_text(network.cost, record.unit)
    accuracies = network.accuracies
    mean = sum(accuracies.values()) / len(accuracies)
    seeds = go.Scatter(
        x=[x] * len(accuracies),
        y=list(accuracies.values()),
        text=[f"{words}, seed {seed}: {percent(accuracy, 2)}" for seed, accuracy in accuracies.items()],
        hovertemplate=_HOVER,
        mode="markers",
        marker={"size": 7, "color": colour, "opacity": 0.45},
        showlegend=False,
    )
    means = go.Scatter(
        x=[x],
        y=[mean],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [latency.interval_ms[1] - x],
            "arrayminus": [x - latency.interval_ms[0]],
            "color": colour,
            "thickness": 1,
            "width": 3,
        }
        if latency
        else None,
        text=[f"<b>{words}</b><br>mean of {len(accuracies)}: {percent(mean, 2)}<br>{where}"],
        hovertemplate=_HOVER,
        mode="markers",
        name=words,
        marker=STAR if network.name == "adapted" else {"size": 13, "color": colour, "symbol": symbol},
    )
    return [seeds, means]
