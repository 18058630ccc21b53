"""How classes are taken for each other, and how concepts flow into classes."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from app.charts.frame import NEUTRAL, colour, dressed, hover, label, signed

WRITTEN = {"fontSize": 11, "color": "#ffffff", "textBorderColor": "#7a3d16", "textBorderWidth": 3}  # readable on a band


def confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> go.Figure:
    """Rows are labels, columns are predictions; a cell is darker the larger its share of the row, zero is blank."""
    totals = [max(1, sum(row)) for row in counts]
    shares = [[value / total for value in row] for row, total in zip(counts, totals, strict=True)]
    names = [label(name, 22) for name in classes]
    cells = go.Heatmap(
        z=shares,
        x=list(range(len(names))),
        y=list(range(len(names))),
        text=[[str(value) if value else "" for value in row] for row in counts],
        texttemplate="%{text}" if len(names) <= 30 else None,
        hovertext=[
            [f"{names[i]} taken for {names[j]}: {value} of {totals[i]}" for j, value in enumerate(row)]
            for i, row in enumerate(counts)
        ],
        hoverinfo="text",
        colorscale=[[0, "rgba(74, 143, 209, 0)"], [0.02, "rgba(74, 143, 209, 0.12)"], [1, "rgba(74, 143, 209, 0.95)"]],
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
    )
    figure = go.Figure(cells)
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": names, "showgrid": False}
    figure.update_xaxes(**ticks, title="prediction", tickangle=-45, side="bottom")
    figure.update_yaxes(**ticks, title="label", autorange="reversed")
    return dressed(figure, height=120 + 24 * len(names))


def sankey(links: Sequence[tuple[str, str, float]]) -> dict[str, Any]:
    """ECharts option: concepts on the left, classes on the right, a band as wide as the weight.

    Clicks come back from `st.echarts_chart` as nodes and edges in the order of `sankey_nodes` and of `links`.
    """
    nodes = sankey_nodes(links)
    data = [
        {
            "name": kind + name,
            "itemStyle": {"color": NEUTRAL},
            "label": {"formatter": _plain(name), "position": "left" if kind == "k:" else "right"},
        }
        for kind, name in nodes
    ]
    edges = [
        {
            "source": "k:" + concept,
            "target": "c:" + class_,
            "value": abs(weight),
            "lineStyle": {"color": colour(weight), "opacity": 0.5},
            "edgeLabel": {"show": weight < 0, "formatter": signed(weight), **WRITTEN},
            "tooltip": {"formatter": hover(f"{concept} → {class_}", signed(weight), "")},
        }
        for concept, class_, weight in links
    ]
    series = {
        "type": "sankey",
        "data": data,
        "links": edges,
        "left": 170,
        "right": 170,
        "top": 8,
        "bottom": 8,
        "nodeWidth": 8,
        "nodeGap": 10,
        "draggable": False,
        "selectedMode": "single",
        "select": {"itemStyle": {"borderWidth": 2}, "lineStyle": {"opacity": 0.95}},
        "emphasis": {"focus": "adjacency"},
        "label": {"fontSize": 12, "width": 155, "overflow": "truncate"},
    }
    return {"series": [series], "tooltip": {"trigger": "item", "confine": True}, "animation": False}


def sankey_nodes(links: Sequence[tuple[str, str, float]]) -> list[tuple[str, str]]:
    """The nodes of `sankey` in the order in which a click numbers them: ("k:", concept) or ("c:", class)."""
    return list(dict.fromkeys([*(("k:", concept) for concept, _, _ in links), *(("c:", c) for _, c, _ in links)]))


def _plain(name: str) -> str:
    """ECharts labels are plain text but read `{a}` as a template and `{style|text}` as rich text."""
    return " ".join(name.split()).replace("{", "(").replace("}", ")").replace("|", "/")
