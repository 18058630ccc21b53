"""Dots: before and after, groups with their intervals, concepts in a plane, and the mark below a slider."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from app.charts.frame import (
    AFTER,
    BEFORE,
    FAINT,
    LOWERS,
    NEUTRAL,
    RAISES,
    ROW,
    colour,
    dressed,
    hover,
    label,
    percent,
    rows_figure,
)

if TYPE_CHECKING:
    from probes.intervals import Estimate

SAME = 0.0005  # a change of probability that is not drawn
GAP = 0.04  # between a dot and its number, as probability


def before_after(names: Sequence[str], before: Sequence[float], after: Sequence[float], *, axis: str) -> go.Figure:
    """One row a name: an open circle where its probability was, a filled one where it is, a line between."""
    rows = list(range(len(names)))
    gains = [a - b if abs(a - b) > SAME else 0.0 for b, a in zip(before, after, strict=True)]
    joins = [
        go.Scatter(
            x=[x for r in rows if gains[r] * sign > 0 for x in (before[r], after[r], None)],
            y=[r for r in rows if gains[r] * sign > 0 for _ in range(3)],
            mode="lines",
            line={"color": colour(sign), "width": 3},
            hoverinfo="skip",
        )
        for sign in (1, -1)
    ]
    shown = [percent(value) for value in after]
    was = go.Scatter(
        x=list(before),
        y=rows,
        mode="markers",
        name="model",
        marker={"symbol": "circle-open", "size": 11, "color": BEFORE, "line": {"width": 2}},
        hovertext=[hover(name, percent(value), "as the model says") for name, value in zip(names, before, strict=True)],
        hoverinfo="text",
    )
    now = go.Scatter(
        x=list(after),
        y=rows,
        mode="markers",
        name="yours",
        marker={"symbol": "circle", "size": 11, "color": [colour(gain) for gain in gains]},
        hovertext=[hover(n, text, "with your changes") for n, text in zip(names, shown, strict=True)],
        hoverinfo="text",
    )
    values = go.Scatter(
        x=[max(pair) + GAP for pair in zip(before, after, strict=True)],
        y=rows,
        mode="text",
        text=shown,
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure = rows_figure([*joins, was, now, values], [label(name) for name in names], axis)
    figure.update_xaxes(range=[-0.03, 1.14], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    return figure


def group_dots(
    names: Sequence[str], before: "Sequence[Estimate]", after: "Sequence[Estimate]" = (), *, axis: str = "accuracy"
) -> go.Figure:
    """One row a group: the value as a dot with its interval; with `after`, a second dot just below the first."""
    gap = 0.16 if after else 0.0
    traces = [_dots(before, [r - gap for r in range(len(names))], "before" if after else axis, "circle-open", BEFORE)]
    if after:
        traces.append(_dots(after, [r + gap for r in range(len(names))], "after", "diamond", AFTER))
    figure = rows_figure(traces, [label(name) for name in names], axis)
    lowest = min((estimate.low for estimate in [*before, *after]), default=0.0)
    figure.update_xaxes(range=[max(-0.02, lowest - 0.05), 1.02], tickformat=".0%", tickangle=0, nticks=5)
    figure.update_layout(
        showlegend=bool(after),
        height=figure.layout.height + (ROW + len(names) * 8 if after else 0),
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemclick": False},
    )
    if after:
        figure.update_layout(margin_t=30)
    return figure


def aurocs(rows: "Sequence[tuple[str, Estimate]]") -> go.Figure:
    """One row a concept: AUROC as a dot with its interval; the dotted line at 0.5 is chance."""
    values = [estimate for _, estimate in rows]
    figure = rows_figure(
        [_dots(values, list(range(len(rows))), "AUROC", "circle", RAISES, show="{:.3f}".format)],
        [label(name) for name, _ in rows],
        "AUROC on held-out images (0.5 is chance)",
    )
    figure.add_vline(x=0.5, line={"dash": "dot", "color": NEUTRAL, "width": 1})
    figure.update_xaxes(range=[min([0.45, *(v.low - 0.02 for v in values)]), 1.01])
    return figure


def concept_map(
    rows: Sequence[tuple[str, float, float]], *, chosen: str = "", near: Sequence[str] = (), named: bool = True
) -> go.Figure:
    """Concepts as points in a plane: the chosen one filled and large, those nearest to it in the other colour.

    Parameters
    ----------
    rows
        Name and place; a click returns the name as `customdata`.
    named
        Whether every point has its name beside it; else only the chosen one and those nearest to it.
    """
    names = [name for name, _, _ in rows]
    colours = [RAISES if name == chosen else LOWERS if name in near else NEUTRAL for name in names]
    shown = [label(name, 20) if named or name == chosen or name in near else "" for name in names]
    points = go.Scatter(
        x=[x for _, x, _ in rows],
        y=[y for _, _, y in rows],
        mode="markers+text",
        marker={
            "color": colours,
            "size": [15 if name == chosen else 9 for name in names],
            "symbol": ["circle" if name == chosen else "diamond" if name in near else "circle-open" for name in names],
            "line": {"width": 1.5},
        },
        text=shown,
        textposition="top center",
        textfont={"size": 11},
        cliponaxis=False,
        customdata=names,
        hovertext=[label(name, 80) for name in names],
        hoverinfo="text",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )
    figure = go.Figure(points)
    plain = {"showticklabels": False, "zeroline": False, "gridcolor": FAINT}
    figure.update_xaxes(**plain, title={"text": "first principal component", "font": {"size": 12}})
    figure.update_yaxes(**plain, title={"text": "second", "font": {"size": 12}})
    return dressed(figure, height=520)


def tick(share: float) -> str:
    """A mark below a slider, as SVG, at this share of its length: where the model's own value is."""
    x = 6 + 288 * min(max(share, 0.0), 1.0)  # the slider's ends are a handle's radius inside
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 7">'
        f'<path d="M{x:.1f} 0 L{x + 3:.1f} 5 L{x - 3:.1f} 5 Z" fill="{NEUTRAL}"/></svg>'
    )


def _dots(
    values: "Sequence[Estimate]",
    rows: Sequence[float],
    name: str,
    symbol: str,
    shade: str,
    *,
    show: Callable[[float], str] = percent,
) -> go.Scatter:
    return go.Scatter(
        x=[v.value for v in values],
        y=list(rows),
        mode="markers",
        name=name,
        marker={"symbol": symbol, "size": 10, "color": shade, "line": {"width": 2, "color": shade}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [v.high - v.value for v in values],
            "arrayminus": [v.value - v.low for v in values],
            "color": shade,
            "thickness": 1.5,
            "width": 4,
        },
        hovertext=[f"{name}: {show(v.value)} ({show(v.low)} to {show(v.high)}, n = {v.n})" for v in values],
        hoverinfo="text",
    )
