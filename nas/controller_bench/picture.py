"""Regret against samples, a line each contestant, as a page of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from nas.controller_bench.outcome import Result
from nas.errors import UserError

_COLOURS = ("#6b7280", "#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d")
_NUM_POINTS = 60
_BAND = 0.15  # opacity


def figure(result: Result) -> go.Figure:
    """Mean regret with its 95 % band, both axes logarithmic."""
    counts = np.unique(np.geomspace(1, result.num_samples, _NUM_POINTS).round().astype(int))
    made = go.Figure()
    for place, label in enumerate(result.runs):
        colour = _COLOURS[place % len(_COLOURS)]
        estimates = [result.regret(label, int(count)) for count in counts]
        mean = [each.mean for each in estimates]
        if result.num_seeds > 1:
            # A logarithmic axis has no place for what reaches below 0
            floor = 1e-3
            high, low = [each.high for each in estimates], [max(each.low, floor) for each in estimates]
            made.add_scatter(
                x=[*counts, *counts[::-1]],
                y=[*high, *low[::-1]],
                fill="toself",
                fillcolor=colour,
                opacity=_BAND,
                line_width=0,
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                legendgroup=label,
            )
        made.add_scatter(
            x=counts,
            y=mean,
            name=label,
            mode="lines",
            line={"color": colour, "width": 2},
            legendgroup=label,
            hovertemplate="%{x} samples: %{y:.3f} points<extra>" + label + "</extra>",
        )
    made.update_layout(
        template="plotly_white",
        title=f"{result.benchmark.name}: regret over samples, mean of {result.num_seeds} seeds with its 95 % interval",
        height=560,
        hovermode="closest",
    )
    made.update_xaxes(title="samples", type="log")
    made.update_yaxes(title="regret in points (hundredths of reward)", type="log")
    return made


def write_picture(path: Path, result: Result) -> None:
    """Write the figure as an offline page.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.write_text(figure(result).to_html(include_plotlyjs=True, full_html=True))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
