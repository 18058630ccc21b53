"""Pellucid's library: from images to a concept model that can be read, corrected and taken away.

The names below are all that a notebook needs, in reading order. They load when first used, so that importing this
package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbm.bank import ConceptBank as ConceptBank
    from cbm.bank import merge as merge
    from cbm.bottleneck import Clamp as Clamp
    from cbm.data import ImageDataset as ImageDataset
    from cbm.edits import DropConcept as DropConcept
    from cbm.edits import MergeConcepts as MergeConcepts
    from cbm.edits import PruneWeight as PruneWeight
    from cbm.edits import RenameConcept as RenameConcept
    from cbm.edits import ScaleScore as ScaleScore
    from cbm.edits import SetScore as SetScore
    from cbm.edits import SetWeight as SetWeight
    from cbm.edits import TestTimeFix as TestTimeFix
    from cbm.edits import apply as apply
    from cbm.embeddings import embed as embed
    from cbm.encoders import load_encoder as load_encoder
    from cbm.errors import PellucidError as PellucidError
    from cbm.explanations import explain as explain
    from cbm.io import fingerprint as fingerprint
    from cbm.io import load as load
    from cbm.io import save as save
    from cbm.methods import fit as fit
    from cbm.model import ConceptModel as ConceptModel
    from cbm.sources import bank_from_examples as bank_from_examples
    from cbm.sources import bank_from_texts as bank_from_texts
    from cbm.training_set import TrainingSet as TrainingSet

_HOME = {
    "load_encoder": "encoders",
    "ImageDataset": "data",
    "embed": "embeddings",
    "TrainingSet": "training_set",
    "ConceptBank": "bank",
    "bank_from_texts": "sources",
    "bank_from_examples": "sources",
    "merge": "bank",
    "fit": "methods",
    "ConceptModel": "model",
    "explain": "explanations",
    "Clamp": "bottleneck",
    "SetScore": "edits",
    "ScaleScore": "edits",
    "SetWeight": "edits",
    "PruneWeight": "edits",
    "DropConcept": "edits",
    "RenameConcept": "edits",
    "MergeConcepts": "edits",
    "TestTimeFix": "edits",
    "apply": "edits",
    "save": "io",
    "load": "io",
    "fingerprint": "io",
    "PellucidError": "errors",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'cbm' has no attribute {name!r}")
    value = getattr(import_module(f"cbm.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
