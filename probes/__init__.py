"""Questions asked of a concept model, answered with numbers, their intervals and what chance would give.

The names below load when first used, so that importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.attention import attention_tap as attention_tap
    from probes.attentive import train_attentive as train_attentive
    from probes.calibration import reliability as reliability
    from probes.comparison import compare as compare
    from probes.conditionals import conditional_probabilities as conditional_probabilities
    from probes.corrections import true_scores as true_scores
    from probes.effective_concepts import nec_curve as nec_curve
    from probes.head_effects import effects_of_heads as effects_of_heads
    from probes.head_gates import learn_gates as learn_gates
    from probes.head_statistics import statistics_of_heads as statistics_of_heads
    from probes.heads import ablate_heads as ablate_heads
    from probes.heads import michel_importance as michel_importance
    from probes.intervals import Estimate as Estimate
    from probes.interventions import ask_next as ask_next
    from probes.interventions import intervention_curve as intervention_curve
    from probes.layers import linear_probes as linear_probes
    from probes.localisation import pointing_game as pointing_game
    from probes.localisation import relevance_mass as relevance_mass
    from probes.maps import ConceptMap as ConceptMap
    from probes.maps import concept_map as concept_map
    from probes.maps import concept_maps as concept_maps
    from probes.metrics import Evaluation as Evaluation
    from probes.metrics import evaluate as evaluate
    from probes.overlays import overlay_png as overlay_png
    from probes.pairs import pairing as pairing
    from probes.tables import confusion as confusion
    from probes.tables import groups_table as groups_table
    from probes.trust import examine as examine

_HOME = {
    "evaluate": "metrics",
    "Evaluation": "metrics",
    "Estimate": "intervals",
    "compare": "comparison",
    "groups_table": "tables",
    "confusion": "tables",
    "concept_map": "maps",
    "concept_maps": "maps",
    "ConceptMap": "maps",
    "overlay_png": "overlays",
    "attention_tap": "attention",
    "statistics_of_heads": "head_statistics",
    "effects_of_heads": "head_effects",
    "ablate_heads": "heads",
    "michel_importance": "heads",
    "learn_gates": "head_gates",
    "linear_probes": "layers",
    "train_attentive": "attentive",
    "examine": "trust",
    "pointing_game": "localisation",
    "relevance_mass": "localisation",
    "conditional_probabilities": "conditionals",
    "true_scores": "corrections",
    "intervention_curve": "interventions",
    "ask_next": "interventions",
    "nec_curve": "effective_concepts",
    "pairing": "pairs",
    "reliability": "calibration",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'probes' has no attribute {name!r}")
    value = getattr(import_module(f"probes.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
