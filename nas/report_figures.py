"""The figures of a report, in plotly."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nas.report_record import RunRecord, measured
from nas.report_tables import latency_text, millions, percent
from nas.trial import Trial

INK, MUTED, GRID = "#1b2430", "#5b6675", "#e6eaf0"
BLUE, TEAL, ORANGE, RED = "#2563eb", "#0f766e", "#c2620a", "#d11a4a"
_FIRST_TO_LAST = [[0, "#c3d7f5"], [0.5, "#5b8def"], [1, "#14306e"]]
_FENCE = 1.5  # in interquartile ranges: accuracies farther below the first quartile are outside the first view
_LOG_RANGE = 4  # latencies that differ by more than this factor get a logarithmic axis
TARGET_LINE = {"color": ORANGE, "width": 1.5, "dash": "dash"}
STAR = {"symbol": "star", "size": 19, "color": RED, "line": {"color": "white", "width": 1.5}}
"""What came out on top."""
_AXIS = {"gridcolor": GRID, "zeroline": False, "linecolor": "#c3cad4", "automargin": True, "title_font": {"size": 13}}


def laid_out(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    """`figure` as all of a report look, `height` pixels high; `layout` comes on top."""
    figure.update_layout(
        height=height,
        template="plotly_white",
        font={"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK},
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        hoverlabel={"align": "left", "bgcolor": "white", "bordercolor": "#c3cad4", "font": {"size": 12, "color": INK}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(**_AXIS)
    figure.update_yaxes(**_AXIS)
    figure.update_layout(**layout)
    return figure


def hover_text(trial: Trial) -> str:
    """All figures of a trial, its architecture one block to a line."""
    lines = [f"<b>trial {trial.number}</b>"]
    if trial.status != "ok":
        lines.append(f"{trial.status}: {trial.reason}")
    if trial.accuracy is not None:
        lines.append(f"accuracy {percent(trial.accuracy)}")
    lines += [
        f"latency {latency_text(trial.latency)}",
        f"reward {trial.reward:.4f}",
        f"{millions(trial.macs)} MACs, {millions(trial.params)} params",
        *str(trial.arch).split(),
    ]
    first, *others = lines
    return "<br>".join([first, *(html.escape(line) for line in others)])


def first_view(values: Sequence[float], shown: Sequence[float] = ()) -> tuple[float, float]:
    """Range of an axis at first: all `values` but those far below the rest, unless they are among `shown`."""
    low, high = np.quantile(values, (0.25, 0.75)).tolist()
    floor = min([max(min(values), low - _FENCE * (high - low)), *shown])
    ceiling = max(values)
    margin = 0.06 * (ceiling - floor) or 0.01
    return floor - margin, ceiling + margin


def accuracy_view(record: RunRecord) -> tuple[float, float]:
    """Range of the accuracy axis at first, the winner in it; needs a successful trial."""
    winner = record.winner
    return first_view([t.accuracy or 0.0 for t in record.networks], [winner.accuracy or 0.0] if winner else [])


def percent_ticks(view: tuple[float, float]) -> str:
    """Format of the ticks of an axis of accuracies."""
    return ".0%" if view[1] - view[0] > 0.08 else ".1%"


def _latency_scale(latencies: Sequence[float]) -> dict[str, object]:
    if max(latencies) <= _LOG_RANGE * min(latencies):
        return {}
    ticks = [mantissa * 10.0**exponent for exponent in range(-3, 5) for mantissa in (1, 1.5, 2, 3, 5, 7)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _equal_reward(record: RunRecord, winner: Trial, latencies: list[float]) -> go.Scatter:
    x = np.geomspace(min([*latencies, record.objective.target_ms]) * 0.95, max(latencies) * 1.05, 200)
    if record.objective.form == "absolute":
        y = [winner.reward - record.objective.latency_term(ms) for ms in x]
    else:
        y = [winner.reward / record.objective.latency_term(ms) for ms in x]
    name = "same reward as the winner"
    line = {"color": "#9aa5b4", "width": 1.5, "dash": "dot"}
    return go.Scatter(x=x, y=y, mode="lines", name=name, line=line, hoverinfo="skip")


def _points(trials: list[Trial]) -> go.Scatter:
    return go.Scatter(
        x=[t.latency_ms for t in trials],
        y=[t.accuracy for t in trials],
        mode="markers",
        name="trials, later ones darker",
        text=[hover_text(t) for t in trials],
        hovertemplate="%{text}<extra></extra>",
        marker={
            "size": 10,
            "color": [t.number for t in trials],
            "colorscale": _FIRST_TO_LAST,
            "line": {"color": "white", "width": 1},
        },
    )


def _front(front: list[Trial]) -> go.Scatter:
    last = front[-1]
    return go.Scatter(
        x=[t.latency_ms for t in front],
        y=[t.accuracy for t in front],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [t.latency.interval_ms[1] - t.latency.latency_ms for t in front if t.latency],
            "arrayminus": [t.latency.latency_ms - t.latency.interval_ms[0] for t in front if t.latency],
            "thickness": 1,
            "width": 3,
        },
        mode="lines" if last is not front[0] else "markers",
        name="Pareto front, with latency intervals",
        line={"color": TEAL, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )


def add_target(figure: go.Figure, target: float, text: str, *, logarithmic: bool = False) -> None:
    """A line down the whole figure where its x is `target`, with `text` above."""
    figure.add_shape(type="line", x0=target, x1=target, yref="paper", y0=0, y1=1, line=TARGET_LINE)
    figure.add_annotation(
        text=text,
        x=math.log10(target) if logarithmic else target,  # unlike shapes, annotations lie where the logarithm says
        yref="paper",
        y=1,
        yanchor="bottom",
        showarrow=False,
        font={"color": ORANGE},
    )


def pareto_figure(record: RunRecord) -> go.Figure | None:
    """Accuracy against latency; None when no trial succeeded."""
    trials, winner = record.networks, record.winner
    if not trials or winner is None or winner.latency_ms is None:
        return None
    latencies = [t.latency_ms or math.inf for t in trials]
    target_ms = record.objective.target_ms
    figure = go.Figure(
        [
            _equal_reward(record, winner, latencies),
            _front(record.front),
            _points(trials),
            go.Scatter(
                x=[winner.latency_ms],
                y=[winner.accuracy],
                mode="markers",
                name=f"winner, trial {winner.number}",
                marker=STAR,
                text=[hover_text(winner)],
                hovertemplate="%{text}<extra></extra>",
            ),
        ]
    )
    scale = _latency_scale(latencies)
    add_target(figure, target_ms, f"target {target_ms:.2f} ms", logarithmic=bool(scale))
    view = accuracy_view(record)
    figure.update_yaxes(title=record.config.evaluator.label, tickformat=percent_ticks(view), range=view)
    figure.update_xaxes(title="latency in ms" + (", logarithmic" if scale else ""), **scale)
    legend = {"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0}
    return laid_out(figure, 560, legend=legend, margin={"l": 10, "r": 10, "t": 40, "b": 10})


def trials_figure(record: RunRecord) -> go.Figure | None:
    """Reward, accuracy and latency over the trials; None when no trial succeeded."""
    done = [t for t in record.trials if t.status == "ok" and t.latency_ms is not None]
    if not done:
        return None
    numbers = [t.number for t in done]
    rewards = pd.Series([t.reward for t in done])
    window = max(5, len(done) // 8)
    titles = (
        "reward, and the best so far",
        f"accuracy, and the median of the last {window}",
        "latency in ms, likewise",
    )
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=titles)
    columns = (
        (rewards, rewards.cummax(), "hv", BLUE),
        (pd.Series([t.accuracy for t in done]), None, "linear", TEAL),
        (pd.Series([t.latency_ms for t in done]), None, "linear", ORANGE),
    )
    texts = [hover_text(t) for t in done]
    for row, (values, best, shape, colour) in enumerate(columns, start=1):
        trend = values.rolling(window, min_periods=1).median() if best is None else best
        marker = {"size": 6, "color": colour, "opacity": 0.45}
        template = "%{text}<extra></extra>"
        points = go.Scatter(
            x=numbers, y=list(values), mode="markers", marker=marker, text=texts, hovertemplate=template
        )
        line = {"color": colour, "width": 2.5, "shape": shape}
        figure.add_trace(points, row=row, col=1)
        figure.add_trace(
            go.Scatter(x=numbers, y=list(trend), mode="lines", line=line, hoverinfo="skip"), row=row, col=1
        )
    figure.update_layout(
        shapes=[_lost(t.number, row) for t in record.trials if t.status == "failed" for row in (1, 2, 3)]
    )
    figure.add_hline(y=record.objective.target_ms, line=TARGET_LINE, row=3, col=1)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13, "color": MUTED})
    accuracies = first_view([t.accuracy or 0.0 for t in done])
    figure.update_yaxes(range=first_view(list(rewards)), row=1, col=1)
    figure.update_yaxes(range=accuracies, tickformat=percent_ticks(accuracies), row=2, col=1)
    figure.update_yaxes(**_latency_scale([t.latency_ms or math.inf for t in done]), row=3, col=1)
    figure.update_xaxes(title="trial", row=3, col=1)
    return laid_out(figure, 640, showlegend=False)


def _lost(number: int, row: int) -> dict[str, object]:
    """A faint line through one panel at a failed trial."""
    axis = "" if row == 1 else str(row)
    ends = {"x0": number, "x1": number, "y0": 0, "y1": 1}
    line = {"color": RED, "width": 1, "dash": "dot"}
    return {"type": "line", "xref": f"x{axis}", "yref": f"y{axis} domain", **ends, "line": line, "opacity": 0.5}


def final_figure(record: RunRecord) -> go.Figure | None:
    """Test accuracy and latency of the finalists with their intervals, side by side; None before the comparison."""
    if not record.finalists:
        return None
    titles = ("test accuracy", "latency in ms")
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.06, subplot_titles=titles)
    for finalist in record.finalists:
        latency = measured(finalist)
        accuracy = (finalist.accuracy, *finalist.accuracy_interval)
        spans = [accuracy, (latency.latency_ms, *latency.interval_ms) if latency else None]
        colour = RED if finalist is record.final_winner else BLUE
        for column, span in enumerate(spans, start=1):
            if span is not None:
                figure.add_trace(_dot(html.escape(finalist.name), span, colour), row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(tickformat=".0%", nticks=6, row=1, col=1)
    figure.update_xaxes(nticks=6, row=1, col=2)
    figure.update_annotations(font={"size": 13, "color": MUTED})
    return laid_out(figure, 90 + 42 * len(record.finalists), showlegend=False)


def _dot(name: str, span: tuple[float, float, float], colour: str) -> go.Scatter:
    value, low, high = span
    return go.Scatter(
        x=[value],
        y=[name],
        mode="markers",
        marker={"size": 10, "color": colour},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value],
            "arrayminus": [value - low],
            "color": colour,
        },
        hovertemplate=f"{name}<br>%{{x}}<br>95 % interval {low:.4g} to {high:.4g}<extra></extra>",
    )
