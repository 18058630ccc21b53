"""Attention in figures: pictures whose cells can be clicked, numbers of all heads, probes by layer, and pruning curves."""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from app.charts.curves import LINES
from app.charts.frame import FAINT, LOWERS, NEUTRAL, RAISES, dressed, hover, label
from app.charts.series import lines

if TYPE_CHECKING:
    from probes.intervals import Estimate

HIDDEN = 0.02  # opacity of the squares that take the clicks; those quite transparent take none
SEQUENCE = [[0.0, "rgba(74, 143, 209, 0.06)"], [1.0, "rgba(74, 143, 209, 0.85)"]]


def clickable(
    png: bytes,
    cells: Sequence[Sequence[str]],
    *,
    height: int,
    told: Mapping[str, str] | None = None,
    chosen: str = "",
    crossed: Sequence[str] = (),
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    ratio: float = 1.0,
) -> go.Figure:
    """A picture divided into cells; a click returns the cell's name as `customdata`.

    Parameters
    ----------
    cells
        Names of the cells, row by row.
    told
        What is said of a cell on hover, by name.
    chosen, crossed
        The cell with a frame, and those that are crossed out.
    rows, columns
        Words beside the rows and above the columns.
    ratio
        Height of a cell over its width.
    """
    high, wide = len(cells), len(cells[0])
    names = [name for row in cells for name in row]
    places = {name: (c, r) for r, row in enumerate(cells) for c, name in enumerate(row)}
    told = told or {}
    squares = go.Scatter(
        x=[places[name][0] + 0.5 for name in names],
        y=[places[name][1] + 0.5 for name in names],
        mode="markers",
        marker={"symbol": "square", "size": max(8, 0.95 * height / high), "opacity": HIDDEN, "color": NEUTRAL},
        customdata=names,
        hovertext=[hover(name, told[name], "") if name in told else label(name) for name in names],
        hoverinfo="text",
        selected={"marker": {"opacity": HIDDEN}},
        unselected={"marker": {"opacity": HIDDEN}},
    )
    figure = go.Figure(squares)
    figure.add_layout_image(
        source="data:image/png;base64," + base64.b64encode(png).decode(),
        x=0, y=0, sizex=wide, sizey=high, xref="x", yref="y", sizing="stretch", layer="below",
    )  # fmt: skip
    for name in crossed:
        c, r = places[name]
        for left, right in ((c + 0.1, c + 0.9), (c + 0.9, c + 0.1)):
            figure.add_shape(type="line", x0=left, x1=right, y0=r + 0.1, y1=r + 0.9, line={"color": LOWERS, "width": 3})
    if chosen in places:
        c, r = places[chosen]
        figure.add_shape(type="rect", x0=c, x1=c + 1, y0=r, y1=r + 1, line={"color": RAISES, "width": 3})
    bare = {"showgrid": False, "zeroline": False, "ticks": "", "fixedrange": True}
    figure.update_xaxes(
        **bare, range=[0, wide], side="top", tickvals=[i + 0.5 for i in range(len(columns))], ticktext=list(columns),
        constrain="domain", showticklabels=bool(columns),
    )  # fmt: skip
    figure.update_yaxes(
        **bare, range=[high, 0], tickvals=[i + 0.5 for i in range(len(rows))], ticktext=list(rows), scaleanchor="x",
        scaleratio=ratio, constrain="domain", showticklabels=bool(rows), automargin=True,
    )  # fmt: skip
    dressed(figure, height=height)
    figure.update_layout(margin={"l": 4, "r": 4, "t": 26 if columns else 4, "b": 4})
    return figure


def head_values(values: Sequence[Sequence[float]], *, title: str, shown: str = ".2f") -> go.Figure:
    """A number of every head as a shaded and written cell: a row a layer, a column a head."""
    b, h = len(values), len(values[0])
    figure = go.Figure(
        go.Heatmap(
            z=[list(row) for row in values],
            x=[f"head {i + 1}" for i in range(h)],
            y=[f"layer {i + 1}" for i in range(b)],
            colorscale=SEQUENCE,
            showscale=False,
            xgap=3,
            ygap=3,
            texttemplate="%{z:" + shown + "}" if h <= 8 else "",
            hovertemplate="%{y}, %{x}: %{z:" + shown + "}<extra>" + label(title) + "</extra>",
        )
    )
    figure.update_xaxes(showgrid=False, side="top", ticks="", tickangle=0)
    figure.update_yaxes(showgrid=False, autorange="reversed", ticks="")
    dressed(figure, height=40 + 34 * b)
    figure.update_layout(margin={"l": 4, "r": 4, "t": 30, "b": 6})
    return figure


def layer_probes(series: "Mapping[str, Sequence[tuple[float, Estimate]]]", *, controls: Sequence[str]) -> go.Figure:
    """AUROC of probes by layer with intervals; those of the control tasks in grey."""
    figure = lines(series, axis="AUROC on test images (0.5 is chance)", across="layer", controls=controls)
    figure.update_yaxes(tickformat=".2f")
    figure.update_xaxes(dtick=1 if max((len(p) for p in series.values()), default=0) <= 13 else None)
    return figure


def pruning(
    removed: Sequence[int],
    heights: Mapping[str, Sequence[float]],
    band: Sequence[tuple[float, float]],
    *,
    band_of: str,
    axis: str,
) -> go.Figure:
    """What is left as heads go, one line an order; the band is the middle 90 % of the random orders."""
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[*removed, *reversed(removed)],
            y=[*(low for low, _ in band), *(high for _, high in reversed(band))],
            mode="lines",
            fill="toself",
            fillcolor=FAINT,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for i, (name, points) in enumerate(heights.items()):
        shade, dash = (NEUTRAL, "dot") if name == band_of else LINES[i % len(LINES)]
        figure.add_trace(
            go.Scatter(
                x=list(removed),
                y=list(points),
                mode="lines+markers",
                name=label(name),
                line={"color": shade, "dash": dash, "width": 2},
                hovertemplate="%{x} heads closed: %{y:.3f}<extra>" + label(name) + "</extra>",
            )
        )
    figure.update_xaxes(
        title={"text": "heads closed, least important first", "font": {"size": 12}}, gridcolor=FAINT, zeroline=False
    )
    figure.update_yaxes(title={"text": axis, "font": {"size": 12}}, gridcolor=FAINT, zeroline=False)
    dressed(figure, height=340)
    figure.update_layout(
        showlegend=True, legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}, margin_t=40
    )
    return figure
