"""Every figure of the screens: values in, Plotly figure (or ECharts option) out, no computation.

Backgrounds are transparent and fonts come from the theme, so that a figure fits light and dark. Names come from data
and are escaped, since Plotly reads some HTML.
"""

from app.charts.atoms import atom_use
from app.charts.bars import bars, shares, waterfall
from app.charts.curves import curves, taken_away
from app.charts.dots import aurocs, before_after, concept_map, group_dots, tick
from app.charts.flows import confusion, sankey, sankey_nodes
from app.charts.frame import LOWERS, MINUS, NEUTRAL, RAISES, label, signed, spoken
from app.charts.heads import clickable, head_values, layer_probes, pruning
from app.charts.series import lines, rows_of_dots
from app.charts.tables import probabilities
from app.charts.training import training

__all__ = [
    "LOWERS",
    "MINUS",
    "NEUTRAL",
    "RAISES",
    "atom_use",
    "aurocs",
    "bars",
    "before_after",
    "clickable",
    "concept_map",
    "confusion",
    "curves",
    "group_dots",
    "head_values",
    "label",
    "layer_probes",
    "lines",
    "probabilities",
    "pruning",
    "rows_of_dots",
    "sankey",
    "sankey_nodes",
    "shares",
    "signed",
    "spoken",
    "taken_away",
    "tick",
    "training",
    "waterfall",
]
