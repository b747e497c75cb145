"""The bar chart of `nas zoo compare` as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from nas.errors import UserError

_BLUE = "#2563eb"  # the report's


def chart(rows: Sequence[dict[str, Any]]) -> go.Figure:
    """Latency in milliseconds with its 95 % interval, a bar a network, the first on top."""
    shown = [row for row in rows if row["latency_ms"] is not None]
    values = [row["latency_ms"] for row in shown]
    bars = go.Bar(
        x=values,
        y=[row["name"] for row in shown],
        orientation="h",
        marker_color=_BLUE,
        text=[f"{row['latency_ms']:.2f} ms" for row in shown],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [row["interval_ms"][1] - row["latency_ms"] for row in shown],
            "arrayminus": [row["latency_ms"] - row["interval_ms"][0] for row in shown],
        },
        customdata=[[row["macs"] / 1e6, row["params"] / 1e6] for row in shown],
        hovertemplate="%{y}: %{x:.3f} ms<br>%{customdata[0]:.1f} M MACs, %{customdata[1]:.2f} M params<extra></extra>",
    )
    figure = go.Figure(bars)
    figure.update_layout(
        template="plotly_white", height=120 + 44 * len(shown), margin={"l": 10, "r": 10, "t": 40, "b": 40}, bargap=0.35
    )
    figure.update_xaxes(title="latency, ms", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def write_chart(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the chart as an offline page.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.write_text(chart(rows).to_html(include_plotlyjs=True, full_html=True))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
