"""Bars: what concepts add, how a logit adds up, and how probable classes are."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.charts.frame import LONGEST, NEUTRAL, RAISES, as_rows, colour, hover, label, percent, room, rows_figure, signed

LOW = " (low)"  # a concept that contributes by being weak: its name alone would read as if it were there


def bars(
    rows: Sequence[tuple[str, float]],
    *,
    axis: str,
    details: Sequence[str] = (),
    neutral: Sequence[str] = (),
    low: Sequence[str] = (),
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
    low
        Names of concepts that the image shows less than the average one; their labels say so.
    """
    names, values = [name for name, _ in rows], [value for _, value in rows]
    colours = [NEUTRAL if name in neutral else colour(value) for name, value in rows]
    bar = go.Bar(
        x=values,
        y=list(range(len(rows))),
        orientation="h",
        marker={"color": colours, "cornerradius": 2},
        text=[signed(v) for v in values],
        textposition="outside",
        cliponaxis=False,
        customdata=names,
        hovertext=[hover(n, signed(v), d) for n, v, d in _zip_details(names, values, details)],
        hoverinfo="text",
    )
    figure = rows_figure([bar], [_label(name, low) for name in names], axis)
    figure.update_layout(bargap=0.38)
    figure.update_xaxes(range=room(values), zeroline=True)
    return figure


def waterfall(
    bias: float,
    parts: Sequence[tuple[str, float]],
    *,
    rest: float,
    residual: float,
    logit: float,
    target: str,
    low: Sequence[str] = (),
) -> go.Figure:
    """How a logit adds up: bias, then each concept, then the other concepts and the residual, then the sum.

    Parts that are zero (no residual, nothing left over) are left out; every row starts where the one above ended.
    Labels of concepts in `low` say that the image shows them less than the average one.
    """
    ends = [("rest of the concepts", rest), ("residual", residual)]
    steps = [("bias", bias), *parts, *[(name, value) for name, value in ends if value != 0]]
    names = [name for name, _ in steps] + [f"logit of {target}"]
    values = [value for _, value in steps] + [logit]
    figure = go.Figure()
    start = 0.0
    for position, (name, value) in enumerate(zip(names, values, strict=True)):
        total = position == len(steps)
        concept = 1 <= position <= len(parts)
        figure.add_bar(
            x=[value],
            y=[position],
            base=[0.0 if total else start],
            orientation="h",
            marker={"color": colour(value) if concept else NEUTRAL, "cornerradius": 2, "opacity": 0.75 if total else 1},
            text=[signed(value)],
            textposition="outside",
            cliponaxis=False,
            hovertext=[hover(name, signed(value), "" if total else f"sum so far {signed(start + value)}")],
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
    as_rows(figure, [_label(name, low) for name in names], "logit")
    running = [0.0]
    for _, value in steps:
        running.append(running[-1] + value)
    figure.update_layout(bargap=0.38, barmode="overlay")
    figure.update_xaxes(range=room([*running, logit]), zeroline=True)
    return figure


def shares(rows: Sequence[tuple[str, float]], *, axis: str) -> go.Figure:
    """Horizontal bars of shares between 0 and 1, for the most probable classes."""
    bar = go.Bar(
        x=[value for _, value in rows],
        y=list(range(len(rows))),
        orientation="h",
        marker={"color": RAISES, "cornerradius": 2},
        text=[percent(value) for _, value in rows],
        textposition="outside",
        cliponaxis=False,
        hovertext=[hover(name, percent(value), "") for name, value in rows],
        hoverinfo="text",
    )
    figure = rows_figure([bar], [label(name, 24) for name, _ in rows], axis)
    figure.update_layout(bargap=0.38)
    figure.update_xaxes(range=[0, 1.22], tickformat=".0%", tickvals=[0, 0.5, 1])
    return figure


def _label(name: str, low: Sequence[str]) -> str:
    return f"{label(name, LONGEST - len(LOW))}{LOW}" if name in low else label(name)


def _zip_details(names: Sequence[str], values: Sequence[float], details: Sequence[str]) -> list[tuple[str, float, str]]:
    return list(zip(names, values, details or [""] * len(names), strict=True))
