"""What all figures share: colours, labels, numbers, and the frame that rows are drawn in.

Colours mean one thing everywhere: blue raises a logit, orange lowers it, grey is not a concept. They are told apart by
people who do not see red or green, read well on light and dark, and a sign is always written out too.
"""

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

RAISES, LOWERS, NEUTRAL, FAINT = "#4a8fd1", "#d9783a", "#8b929c", "rgba(139, 146, 156, 0.28)"
BEFORE, AFTER = NEUTRAL, RAISES
MINUS = "\N{MINUS SIGN}"
ROW, FRAME = 26, 46  # pixels of a row of a horizontal chart, and of its axis and margins
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


def spoken(rows: Mapping[str, float] | Sequence[tuple[str, float]], most: int = 3) -> str:
    """The first values in words, for the `alt` text of a chart."""
    pairs = list(rows.items() if isinstance(rows, Mapping) else rows)[:most]
    return ", ".join(f"{' '.join(name.split())} {signed(value)}" for name, value in pairs)


def colour(value: float) -> str:
    """Blue for what raises a logit, orange for what lowers it, grey for neither."""
    return RAISES if value > 0 else LOWERS if value < 0 else NEUTRAL


def percent(value: float) -> str:
    """A share as a label; what is not quite none or all is not rounded to it."""
    if value in (0, 1) or 0.0995 <= value < 0.995:
        return f"{100 * value:.0f} %"
    if value > 0.5:
        return f"{100 * value:.1f} %" if value < 0.9995 else "over 99.9 %"
    return f"{100 * value:.2g} %" if value >= 0.001 else "under 0.1 %"


def hover(name: str, value: str, detail: str) -> str:
    """The text under the mouse: a name, its value, and a line of detail."""
    first = f"{label(name, 80)}: {value}"
    return f"{first}<br>{html.escape(detail, quote=False)}" if detail else first


def room(values: Sequence[float]) -> list[float]:
    """The range of an axis with room for a number outside the longest bars."""
    low, high = min([0.0, *values]), max([0.0, *values])
    space = 0.17 * ((high - low) or 1.0)
    return [low - space if low < 0 else -0.02 * (high or 1.0), high + space if high > 0 else 0.02 * (-low or 1.0)]


def rows_figure(traces: Sequence[go.Bar | go.Scatter], labels: Sequence[str], axis: str) -> go.Figure:
    """A figure of horizontal rows, one a label."""
    figure = go.Figure(list(traces))
    as_rows(figure, labels, axis)
    return figure


def as_rows(figure: go.Figure, labels: Sequence[str], axis: str) -> None:
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
    dressed(figure, height=FRAME + 12 + ROW * max(1, len(labels)))


def dressed(figure: go.Figure, *, height: int) -> go.Figure:
    """The figure with what all have: its height, no background, no legend, no dragging."""
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
