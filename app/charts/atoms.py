"""How a dictionary's atoms are used: by how many images, and how strongly."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.charts.frame import FAINT, NEUTRAL, RAISES, dressed, label, percent

FEWEST = 1e-4  # share of images at which an atom that no image uses is drawn
TICKS = (1e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def atom_use(rows: Sequence[tuple[str, float, float]], *, chosen: str = "") -> go.Figure:
    """Atoms as points of `(name, share of images, mean code where used)`; a click returns the name as `customdata`."""
    names = [name for name, _, _ in rows]
    points = go.Scatter(
        x=[max(share, FEWEST) for _, share, _ in rows],
        y=[size for _, _, size in rows],
        mode="markers+text",
        marker={
            "color": [RAISES if name == chosen else NEUTRAL for name in names],
            "size": [14 if name == chosen else 8 for name in names],
            "symbol": ["circle" if name == chosen else "circle-open" for name in names],
            "line": {"width": 1.5},
        },
        text=[label(name, 24) if name == chosen else "" for name in names],
        textposition="top center",
        cliponaxis=False,
        customdata=names,
        hovertext=[
            f"{label(name, 80)}<br>{percent(share)} of the images, {size:.2g} each" for name, share, size in rows
        ],
        hoverinfo="text",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )
    figure = go.Figure(points)
    figure.update_xaxes(
        type="log", tickformat=".2~%", tickvals=TICKS, gridcolor=FAINT, zeroline=False,
        title={"text": "share of the images that use it", "font": {"size": 12}},
    )  # fmt: skip
    figure.update_yaxes(
        gridcolor=FAINT, zeroline=False, rangemode="tozero",
        title={"text": "mean code of those", "font": {"size": 12}},
    )  # fmt: skip
    return dressed(figure, height=380)
