"""Several models in one figure: lines through measured points, and rows with a dot for each model, all with intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from app.charts.curves import LINES
from app.charts.frame import FAINT, FRAME, NEUTRAL, ROW, as_rows, dressed, label, percent

if TYPE_CHECKING:
    from probes.intervals import Estimate

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
BETWEEN = 14  # pixels between the dots of one row


def lines(
    series: "Mapping[str, Sequence[tuple[float, Estimate]]]",
    *,
    axis: str,
    across: str,
    diagonal: bool = False,
    controls: Sequence[str] = (),
) -> go.Figure:
    """One line a name through points with their intervals, told apart by colour, dashes and marks.

    Parameters
    ----------
    series
        Place along the axis and estimate, by name.
    controls
        Names of lines to read the others against: grey.
    diagonal
        Whether both axes are shares and a dotted line says where they agree.
    """
    figure = go.Figure()
    if diagonal:
        figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line={"color": NEUTRAL, "dash": "dot", "width": 1})
    for i, (name, points) in enumerate(series.items()):
        shade, dash = (NEUTRAL, "dot") if name in controls else LINES[i % len(LINES)]
        where = "{:.0%}" if diagonal else "{:.3g}"
        figure.add_trace(
            go.Scatter(
                x=[at for at, _ in points],
                y=[point.value for _, point in points],
                error_y=_interval([point for _, point in points], shade),
                mode="lines+markers",
                name=label(name),
                line={"color": shade, "dash": dash, "width": 2},
                marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8, "color": shade},
                hovertext=[f"{label(name)}, {where.format(at)}: {_told(point)}" for at, point in points],
                hoverinfo="text",
            )
        )
    figure.update_xaxes(title={"text": across, "font": {"size": 12}}, gridcolor=FAINT, zeroline=False)
    figure.update_yaxes(title={"text": axis, "font": {"size": 12}}, gridcolor=FAINT, zeroline=False, tickformat=".1~%")
    if diagonal:
        figure.update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
        figure.update_yaxes(range=[-0.02, 1.04])
    return _named(dressed(figure, height=400))


def rows_of_dots(names: Sequence[str], series: "Mapping[str, Sequence[Estimate | None]]", *, axis: str) -> go.Figure:
    """One row a name and in it one dot a series with its interval; `None` where a series has no number for the row."""
    figure = go.Figure()
    step = 0.7 / max(1, len(series))
    for i, (title, values) in enumerate(series.items()):
        shade = LINES[i % len(LINES)][0]
        there = [(row, value) for row, value in enumerate(values) if value is not None]
        figure.add_trace(
            go.Scatter(
                x=[value.value for _, value in there],
                y=[row + (i - (len(series) - 1) / 2) * step for row, _ in there],
                error_x=_interval([value for _, value in there], shade),
                mode="markers",
                name=label(title),
                marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 9, "color": shade},
                hovertext=[f"{label(names[row])}, {label(title)}: {_told(value)}" for row, value in there],
                hoverinfo="text",
            )
        )
    as_rows(figure, [label(name) for name in names], axis)
    lowest = min((v.low for values in series.values() for v in values if v is not None), default=0.0)
    figure.update_xaxes(range=[max(-0.02, lowest - 0.05), 1.02], tickformat=".0%", tickangle=0, nticks=6)
    for row in range(1, len(names)):
        figure.add_hline(y=row - 0.5, line={"color": FAINT, "width": 1})
    figure.update_layout(height=FRAME + 60 + len(names) * max(ROW, BETWEEN * len(series) + 8))
    return _named(figure) if len(series) > 1 else figure


def _interval(values: "Sequence[Estimate]", shade: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [v.high - v.value for v in values],
        "arrayminus": [v.value - v.low for v in values],
        "color": shade,
        "thickness": 1.2,
        "width": 3,
    }


def _told(value: "Estimate") -> str:
    return f"{percent(value.value)} ({percent(value.low)} to {percent(value.high)}, n = {value.n:,})"


def _named(figure: go.Figure) -> go.Figure:
    """The figure with its legend above."""
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "itemclick": "toggle", "traceorder": "normal"}
    return figure.update_layout(showlegend=True, legend=legend, margin_t=50)
