"""Every figure of the screens: values in, Plotly figure (or ECharts option) out, no computation.

Colours mean one thing everywhere: blue raises a logit, orange lowers it, grey is not a concept. They are told apart by
people who do not see red or green, read well on light and dark, and a sign is always written out too. Backgrounds are
transparent; fonts come from the theme. Names come from data and are escaped, since Plotly reads some HTML.
"""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

if TYPE_CHECKING:
    from probes.intervals import Estimate

RAISES, LOWERS, NEUTRAL, FAINT = "#4a8fd1", "#d9783a", "#8b929c", "rgba(139, 146, 156, 0.28)"
BEFORE, AFTER = NEUTRAL, RAISES
MINUS = "\N{MINUS SIGN}"
ROW, FRAME = 26, 46  # pixels of a row of a horizontal chart, and of its axis and margins
SAME = 0.0005  # a change of probability that is not drawn
LONGEST = 34  # characters of a name that a label has room for


def label(name: str, longest: int = LONGEST) -> str:
    """A name from data as a label: on one line, cut when too long, escaped.

    Examples
    --------
    >>> label("a<b>")
    'a&lt;b&gt;'
    """
    line = " ".join(name.split())
    cut = line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
    return html.escape(cut, quote=False)


def signed(value: float) -> str:
    """A number with its sign and three digits at most; the minus is a real one.

    Examples
    --------
    >>> signed(0.5), signed(0.0), signed(12.34)
    ('+0.50', '0', '+12.3')
    """
    size = abs(value)
    if size < 0.0005:
        return "0"
    text = f"{size:.3f}" if size < 0.1 else f"{size:.2f}" if size < 10 else f"{size:.3g}"
    return ("+" if value > 0 else MINUS) + text


def bars(
    rows: Sequence[tuple[str, float]],
    *,
    axis: str,
    details: Sequence[str] = (),
    neutral: Sequence[str] = (),
) -> go.Figure:
    """Signed horizontal bars, the first row on top: contributions to a logit, or weights of a class.

    Parameters
    ----------
    rows
        Name and value; names distinct.
    axis
        What the values are, under the axis.
    details
        One line a row, shown on hover.
    neutral
        Names that are no concept (bias, rest) and are drawn in grey.
    """
    names, values = [name for name, _ in rows], [value for _, value in rows]
    colours = [NEUTRAL if name in neutral else _colour(value) for name, value in rows]
    bar = go.Bar(
        x=values,
        y=list(range(len(rows))),
        orientation="h",
        marker={"color": colours, "cornerradius": 2},
        text=[signed(v) for v in values],
        textposition="outside",
        cliponaxis=False,
        customdata=names,
        hovertext=[_hover(n, signed(v), d) for n, v, d in _zip_details(names, values, details)],
        hoverinfo="text",
    )
    figure = _rows_figure([bar], [label(name) for name in names], axis)
    figure.update_layout(bargap=0.38)
    figure.update_xaxes(range=_room(values), zeroline=True)
    return figure


def waterfall(
    bias: float, parts: Sequence[tuple[str, float]], *, rest: float, residual: float, logit: float, target: str
) -> go.Figure:
    """How a logit adds up: bias, then each concept, then the other concepts and the residual, then the sum.

    Parts that are zero (no residual, nothing left over) are left out; every row starts where the one above ended.
    """
    ends = [("rest of the concepts", rest), ("residual", residual)]
    steps = [("bias", bias), *parts, *[(name, value) for name, value in ends if value != 0]]
    names = [name for name, _ in steps] + [f"logit of {target}"]
    values = [value for _, value in steps] + [logit]
    figure = go.Figure()
    start = 0.0
    for position, (name, value) in enumerate(zip(names, values, strict=True)):
        total = position == len(steps)
        colour = NEUTRAL if total or name in ("bias", *(n for n, _ in ends)) else _colour(value)
        figure.add_bar(
            x=[value],
            y=[position],
            base=[0.0 if total else start],
            orientation="h",
            marker={"color": colour, "cornerradius": 2, "opacity": 1 if not total else 0.75},
            text=[signed(value)],
            textposition="outside",
            cliponaxis=False,
            hovertext=[_hover(name, signed(value), "" if total else f"sum so far {signed(start + value)}")],
            hoverinfo="text",
        )
        start += 0 if total else value
        if not total:
            figure.add_shape(
                type="line",
                x0=start,
                x1=start,
                y0=position + 0.31,
                y1=position + 0.69,
                line={"color": NEUTRAL, "width": 1, "dash": "dot"},
            )
    _as_rows(figure, [label(name) for name in names], "logit")
    running = [0.0]
    for _, value in steps:
        running.append(running[-1] + value)
    figure.update_layout(bargap=0.38, barmode="overlay")
    figure.update_xaxes(range=_room([*running, logit]), zeroline=True)
    return figure


def shares(rows: Sequence[tuple[str, float]], *, axis: str) -> go.Figure:
    """Horizontal bars of shares between 0 and 1, for the most probable classes."""
    bar = go.Bar(
        x=[value for _, value in rows],
        y=list(range(len(rows))),
        orientation="h",
        marker={"color": RAISES, "cornerradius": 2},
        text=[_percent(value) for _, value in rows],
        textposition="outside",
        cliponaxis=False,
        hovertext=[_hover(name, _percent(value), "") for name, value in rows],
        hoverinfo="text",
    )
    figure = _rows_figure([bar], [label(name, 24) for name, _ in rows], axis)
    figure.update_layout(bargap=0.38)
    figure.update_xaxes(range=[0, 1.22], tickformat=".0%", tickvals=[0, 0.5, 1])
    return figure


def before_after(
    names: Sequence[str], before: Sequence[float], after: Sequence[float], *, axis: str, percent: bool = True
) -> go.Figure:
    """One row a name: an open circle where it was, a filled one where it is, a line between.

    Used for class probabilities while a person intervenes.
    """
    rows = list(range(len(names)))
    gap = 0.04 * max([1e-9, 1.0 if percent else 0.0, *map(abs, before), *map(abs, after)])  # room between dot and text
    gains = [a - b if abs(a - b) > SAME else 0.0 for b, a in zip(before, after, strict=True)]
    joins = [
        go.Scatter(
            x=[x for r in rows if gains[r] * sign > 0 for x in (before[r], after[r], None)],
            y=[r for r in rows if gains[r] * sign > 0 for _ in range(3)],
            mode="lines",
            line={"color": _colour(sign), "width": 3},
            hoverinfo="skip",
        )
        for sign in (1, -1)
    ]
    shown = [_percent(v) if percent else signed(v) for v in after]
    was = go.Scatter(
        x=list(before),
        y=rows,
        mode="markers",
        name="model",
        marker={"symbol": "circle-open", "size": 11, "color": BEFORE, "line": {"width": 2}},
        hovertext=[
            _hover(name, _percent(value) if percent else signed(value), "as the model says")
            for name, value in zip(names, before, strict=True)
        ],
        hoverinfo="text",
    )
    now = go.Scatter(
        x=list(after),
        y=rows,
        mode="markers",
        name="yours",
        marker={"symbol": "circle", "size": 11, "color": [_colour(gain) for gain in gains]},
        hovertext=[_hover(n, text, "with your changes") for n, text in zip(names, shown, strict=True)],
        hoverinfo="text",
    )
    values = go.Scatter(
        x=[max(pair) + gap for pair in zip(before, after, strict=True)],
        y=rows,
        mode="text",
        text=shown,
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure = _rows_figure([*joins, was, now, values], [label(name) for name in names], axis)
    if percent:
        figure.update_xaxes(range=[-0.03, 1.14], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    else:
        figure.update_xaxes(range=_room([*before, *after]))
    return figure


def group_dots(
    names: Sequence[str], before: "Sequence[Estimate]", after: "Sequence[Estimate]" = (), *, axis: str = "accuracy"
) -> go.Figure:
    """One row a group: the value as a dot with its interval; with `after`, a second dot just below the first."""
    gap = 0.16 if after else 0.0
    traces = [_dots(before, [r - gap for r in range(len(names))], "before" if after else axis, "circle-open", BEFORE)]
    if after:
        traces.append(_dots(after, [r + gap for r in range(len(names))], "after", "diamond", AFTER))
    figure = _rows_figure(traces, [label(name) for name in names], axis)
    lowest = min((estimate.low for estimate in [*before, *after]), default=0.0)
    figure.update_xaxes(range=[max(-0.02, lowest - 0.05), 1.02], tickformat=".0%")
    figure.update_layout(
        showlegend=bool(after),
        height=figure.layout.height + (ROW + len(names) * 8 if after else 0),
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemclick": False},
    )
    if after:
        figure.update_layout(margin_t=30)
    return figure


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
    return _dressed(figure, height=120 + 24 * len(names))


def aurocs(rows: "Sequence[tuple[str, Estimate]]") -> go.Figure:
    """One row a concept: AUROC as a dot with its interval; the dotted line at 0.5 is chance."""
    values = [estimate for _, estimate in rows]
    figure = _rows_figure(
        [_dots(values, list(range(len(rows))), "AUROC", "circle", RAISES, percent=False)],
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
    return _dressed(figure, height=520)


def tick(share: float) -> str:
    """A mark below a slider, as SVG, at this share of its length: where the model's own value is."""
    x = 6 + 288 * min(max(share, 0.0), 1.0)  # the slider's ends are a handle's radius inside
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 7">'
        f'<path d="M{x:.1f} 0 L{x + 3:.1f} 5 L{x - 3:.1f} 5 Z" fill="{NEUTRAL}"/></svg>'
    )


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
            "lineStyle": {"color": _colour(weight), "opacity": 0.5},
            "edgeLabel": {"show": weight < 0, "formatter": signed(weight), "fontSize": 10, "color": LOWERS},
            "tooltip": {"formatter": _hover(f"{concept} → {class_}", signed(weight), "")},
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


def _colour(value: float) -> str:
    return RAISES if value > 0 else LOWERS if value < 0 else NEUTRAL


def _percent(value: float) -> str:
    if value in (0, 1) or 0.0995 <= value < 0.995:
        return f"{100 * value:.0f} %"
    if value > 0.5:
        return f"{100 * value:.1f} %" if value < 0.9995 else "over 99.9 %"
    return f"{100 * value:.2g} %" if value >= 0.001 else "under 0.1 %"


def _plain(name: str) -> str:
    """ECharts labels are plain text but read `{a}` as a template and `{style|text}` as rich text."""
    return " ".join(name.split()).replace("{", "(").replace("}", ")").replace("|", "/")


def _hover(name: str, value: str, detail: str) -> str:
    first = f"{label(name, 80)}: {value}"
    return f"{first}<br>{html.escape(detail, quote=False)}" if detail else first


def _zip_details(names: Sequence[str], values: Sequence[float], details: Sequence[str]) -> list[tuple[str, float, str]]:
    return list(zip(names, values, details or [""] * len(names), strict=True))


def _room(values: Sequence[float]) -> list[float]:
    """The range of an axis with room for a number outside the longest bars."""
    low, high = min([0.0, *values]), max([0.0, *values])
    space = 0.17 * ((high - low) or 1.0)
    return [low - space if low < 0 else -0.02 * (high or 1.0), high + space if high > 0 else 0.02 * (-low or 1.0)]


def _dots(
    values: "Sequence[Estimate]", rows: Sequence[float], name: str, symbol: str, colour: str, *, percent: bool = True
) -> go.Scatter:
    show = _percent if percent else "{:.3f}".format
    return go.Scatter(
        x=[v.value for v in values],
        y=list(rows),
        mode="markers",
        name=name,
        marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2, "color": colour}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [v.high - v.value for v in values],
            "arrayminus": [v.value - v.low for v in values],
            "color": colour,
            "thickness": 1.5,
            "width": 4,
        },
        hovertext=[f"{name}: {show(v.value)} ({show(v.low)} to {show(v.high)}, n = {v.n})" for v in values],
        hoverinfo="text",
    )


def _rows_figure(traces: Sequence[go.Bar | go.Scatter], labels: Sequence[str], axis: str) -> go.Figure:
    figure = go.Figure(list(traces))
    _as_rows(figure, labels, axis)
    return figure


def _as_rows(figure: go.Figure, labels: Sequence[str], axis: str) -> None:
    """Rows from the top down, each with its name at the left."""
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(labels))),
        ticktext=list(labels),
        range=[len(labels) - 0.5, -0.5],
        showgrid=False,
        automargin=True,
        ticks="",
        zeroline=False,
    )
    figure.update_xaxes(title={"text": axis, "font": {"size": 12}}, gridcolor=FAINT, zerolinecolor=NEUTRAL)
    _dressed(figure, height=FRAME + 12 + ROW * max(1, len(labels)))


def _dressed(figure: go.Figure, *, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        showlegend=False,
        margin={"l": 4, "r": 12, "t": 6, "b": FRAME},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        dragmode=False,
        hoverlabel={"align": "left"},
    )
    return figure


def spoken(rows: Mapping[str, float] | Sequence[tuple[str, float]], most: int = 3) -> str:
    """The first values in words, for the `alt` text of a chart."""
    pairs = list(rows.items() if isinstance(rows, Mapping) else rows)[:most]
    return ", ".join(f"{' '.join(name.split())} {signed(value)}" for name, value in pairs)
