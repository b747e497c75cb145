"""The figure of a reproduction's report: accuracy against latency of all networks, trained alike."""

from __future__ import annotations

import plotly.graph_objects as go

from nas.report_figures import BLUE, INK, MUTED, RED, STAR, TEAL, add_target, laid_out
from nas.report_tables import latency_text, percent
from nas.reproduction.reproduce_record import FOUND, ReproduceRecord
from nas.reproduction.reproduce_tables import words

_MARKS = {FOUND: (RED, "star"), "uniform": (TEAL, "diamond"), "random": (MUTED, "circle")}
_LEGEND = {"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0}
_MARGIN = {"l": 10, "r": 10, "t": 40, "b": 10}


def final_figure(record: ReproduceRecord) -> go.Figure | None:
    """Each training a small point, each network's mean a large one; None before the comparison."""
    if not record.networks or record.target_ms is None:
        return None
    figure = go.Figure()
    for network in record.networks:
        accuracies = list(network.accuracies.values())
        if not accuracies or network.latency is None:
            continue
        colour, symbol = _MARKS.get(network.name, (INK if network.name == record.to_beat else BLUE, "square"))
        mean = sum(accuracies) / len(accuracies)
        name = words(network.name)
        figure.add_trace(
            go.Scatter(
                x=[network.cost] * len(accuracies),
                y=accuracies,
                mode="markers",
                marker={"size": 6, "color": colour, "opacity": 0.45},
                showlegend=False,
                hoverinfo="skip",
            )
        )
        low, high = network.latency.interval_ms
        figure.add_trace(
            go.Scatter(
                x=[network.cost],
                y=[mean],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [high - network.cost],
                    "arrayminus": [network.cost - low],
                },
                mode="markers",
                name=name,
                text=[
                    f"<b>{name}</b><br>mean of {len(accuracies)}: {percent(mean, 2)}<br>{latency_text(network.latency)}"
                ],
                hovertemplate="%{text}<extra></extra>",
                marker=STAR if network.name == FOUND else {"size": 13, "color": colour, "symbol": symbol},
            )
        )
    add_target(figure, record.target_ms, f"target {record.target_ms:.3f} ms")
    figure.update_yaxes(title="test accuracy, trained from scratch", tickformat=".0%")
    figure.update_xaxes(title="latency in ms")
    return laid_out(figure, 520, legend=_LEGEND, margin=_MARGIN)
