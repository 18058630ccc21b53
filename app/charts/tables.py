"""Tables of probabilities as heat maps."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.charts.frame import dressed, label


def probabilities(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], *, given: str, of: str
) -> go.Figure:
    """One cell for each row and column, darker the more probable; hover says the number."""
    across, down = ([label(name, 22) for name in names] for names in (columns, rows))
    told = [
        [f"{of} {across[j]}, given {given} {down[i]}: {value:.2f}" for j, value in enumerate(row)]
        for i, row in enumerate(values)
    ]
    cells = go.Heatmap(
        z=values, x=list(range(len(across))), y=list(range(len(down))), hovertext=told, hoverinfo="text", zmin=0, zmax=1,
        colorscale=[[0, "rgba(74, 143, 209, 0.03)"], [1, "rgba(74, 143, 209, 0.95)"]], showscale=False, xgap=1, ygap=1,
    )  # fmt: skip
    figure = go.Figure(cells)
    plain = {"tickmode": "array", "showgrid": False, "tickfont": {"size": 10}}
    figure.update_xaxes(**plain, tickvals=list(range(len(across))), ticktext=across, tickangle=-60, side="bottom")
    figure.update_yaxes(**plain, tickvals=list(range(len(down))), ticktext=down, autorange="reversed")
    return dressed(figure, height=150 + 16 * len(down))
