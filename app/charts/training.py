"""A number of a training as it went: small lines over how far the job had come."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app.charts.curves import LINES
from app.charts.frame import FAINT, dressed, hover, label


def training(lines: Mapping[str, Sequence[tuple[float, float, str]]]) -> go.Figure:
    """One line a name, of `(share done, value, what the job said)`; the last value is a dot."""
    figure, styles = go.Figure(), iter(LINES * (1 + len(lines) // len(LINES)))
    for name, points in lines.items():
        shade, dash = next(styles)
        figure.add_trace(
            go.Scatter(
                x=[done for done, _, _ in points],
                y=[value for _, value, _ in points],
                mode="lines+markers",
                name=label(name),
                line={"color": shade, "dash": dash, "width": 2},
                marker={"size": [0] * (len(points) - 1) + [7], "color": shade},
                hovertext=[hover(name, f"{value:.4g}", said) for _, value, said in points],
                hoverinfo="text",
            )
        )
    figure.update_xaxes(tickformat=".0%", gridcolor=FAINT, zeroline=False, nticks=5)
    figure.update_yaxes(gridcolor=FAINT, zeroline=False, nticks=5)
    dressed(figure, height=170)
    figure.update_layout(
        showlegend=len(lines) > 1,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemclick": "toggle"},
        margin={"t": 28 if len(lines) > 1 else 6, "b": 26},
    )
    return figure
