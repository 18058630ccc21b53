"""Accuracy against how much was corrected: one line a policy, with its interval as a band."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from app.charts.frame import FAINT, LOWERS, NEUTRAL, RAISES, dressed, label, percent

if TYPE_CHECKING:
    from probes.intervals import Estimate

LINES = ((RAISES, "solid"), (LOWERS, "dash"), ("#3f9e8c", "dot"), ("#9a6fc0", "dashdot"), ("#c2a13a", "longdash"))
BAND = 0.14  # opacity


def curves(
    lines: "Mapping[str, Sequence[Estimate]]", *, axis: str, across: str, bounds: Sequence[str] = (), band: str = ""
) -> go.Figure:
    """One line a name, told apart by colour and by how it is dashed.

    Parameters
    ----------
    lines
        Estimates at 0, 1, 2, ... by name.
    bounds
        Names of lines that only say what is possible: grey.
    band
        The line whose interval is drawn; those of all would hide each other.
    """
    figure, styles = go.Figure(), iter(LINES * (1 + len(lines) // len(LINES)))
    for name, points in lines.items():
        shade, dash = (NEUTRAL, "solid") if name in bounds else next(styles)
        at = list(range(len(points)))
        if name == band:
            figure.add_trace(_band(at, points, shade))
        figure.add_trace(
            go.Scatter(
                x=at,
                y=[point.value for point in points],
                mode="lines",
                name=label(name),
                line={"color": shade, "dash": dash, "width": 2.5 if name == band else 1.8},
                hovertext=[f"{label(name)}, {i}: {percent(p.value)} ({percent(p.low)} to {percent(p.high)})"
                           for i, p in zip(at, points, strict=True)],
                hoverinfo="text",
            )
        )  # fmt: skip
    figure.update_xaxes(
        title={"text": across, "font": {"size": 12}}, gridcolor=FAINT, zeroline=False, rangemode="tozero"
    )
    figure.update_yaxes(title={"text": axis, "font": {"size": 12}}, gridcolor=FAINT, zeroline=False, tickformat=".1~%")
    dressed(figure, height=400)
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemclick": "toggle"},
        margin_t=50,
    )
    return figure


def taken_away(
    counts: Sequence[int], lines: Mapping[str, Sequence[float]], *, axis: str, across: str, controls: Sequence[str] = ()
) -> go.Figure:
    """One line a name over numbers of concepts; controls are grey, and all differ by their dashes."""
    figure, styles = go.Figure(), iter(LINES * (1 + len(lines) // len(LINES)))
    dashes = iter(("solid", "dot") * len(lines))
    for name, values in lines.items():
        shade, dash = (NEUTRAL, next(dashes)) if name in controls else next(styles)
        figure.add_trace(
            go.Scatter(
                x=list(counts),
                y=list(values),
                mode="lines",
                name=label(name, 60),
                line={"color": shade, "dash": dash, "width": 2},
                hovertext=[f"{label(name, 60)}, {m}: {percent(v)}" for m, v in zip(counts, values, strict=True)],
                hoverinfo="text",
            )
        )
    figure.update_xaxes(title={"text": across, "font": {"size": 12}}, gridcolor=FAINT, zeroline=False)
    figure.update_yaxes(
        title={"text": axis, "font": {"size": 12}}, gridcolor=FAINT, zeroline=False, tickformat=".0%", range=[0, 1.03]
    )
    dressed(figure, height=340)
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemclick": "toggle"},
        margin_t=54,
    )
    return figure


def _band(at: Sequence[int], points: "Sequence[Estimate]", shade: str) -> go.Scatter:
    """The interval around a line, as a filled outline."""
    red, green, blue = (int(shade[i : i + 2], 16) for i in (1, 3, 5))
    return go.Scatter(
        x=[*at, *reversed(at)],
        y=[*(p.low for p in points), *(p.high for p in reversed(points))],
        fill="toself",
        fillcolor=f"rgba({red}, {green}, {blue}, {BAND})",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )
