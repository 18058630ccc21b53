"""Every method that fits a concept model, by name: one file each, one line each here.

A method says what it needs as data. `missing` turns what is not there into one sentence with a hint; the Build
screen greys the method out with it, the command line refuses with it, and `fit` raises it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from importlib import import_module
from typing import Any

from cbm.bank import ConceptBank
from cbm.config import build
from cbm.errors import ModelError, UsageError, unknown
from cbm.model import ConceptModel, Json, Recipe
from cbm.process_group import ALONE, Group
from cbm.progress import OnProgress, silent
from cbm.training_set import TrainingSet


class Need(Enum):
    """What a method cannot do without; the value is the sentence shown when it is missing."""

    CONCEPT_BANK = "it needs a concept bank; build one from texts or from annotated images"
    TEXT_BANK = "it needs a concept bank from texts, whose similarities to images it learns; this one has no texts"
    TEXT_ENCODER = "it needs an encoder that reads text, such as builtin:demo or builtin:photo"
    TEXT_OR_ATOMS = (
        "it needs an encoder that reads text, such as builtin:demo or builtin:photo, or a concept bank of atoms"
    )
    CONCEPT_LABELS = "it needs images annotated with concepts (columns c:<concept> in the manifest)"
    CANDIDATES = "it needs candidate sentences for every class, as a file {class: [sentence, ...]}"


@dataclass(frozen=True)
class Method:
    """One method: its names, its paper, what it needs, its options and the function that fits it.

    `config` is a frozen dataclass of options; `fit(training_set, config, on_progress)` returns a `ConceptModel`. If it is
    `shared`, `fit` also takes a group of processes that fit the model together; all of them get it.
    """

    name: str
    title: str
    summary: str
    paper: str
    needs: tuple[Need, ...]
    config: type[Any]
    fit: Callable[..., ConceptModel]
    shared: bool = False

    @property
    def reads_text(self) -> bool:
        """Whether a text encoder is of use to it."""
        return not {Need.TEXT_ENCODER, Need.TEXT_OR_ATOMS}.isdisjoint(self.needs)


MODULES = {
    "posthoc": "cbm.methods.posthoc",
    "posthoc-hybrid": "cbm.methods.hybrid",
    "linear-probe": "cbm.methods.linear_probe",
    "zero-shot": "cbm.methods.zero_shot",
    "cms": "cbm.methods.cms",
    "labo": "cbm.methods.labo",
    "v2c": "cbm.methods.v2c",
    "labelfree": "cbm.methods.labelfree",
    "sparse": "cbm.methods.sparse",
    "dncbm": "cbm.methods.dncbm",
    "ecbm": "cbm.methods.ecbm",
}


def method(name: str) -> Method:
    """The method of that name; `UnknownName` with close matches if there is none."""
    if name not in MODULES:
        raise unknown("method", name, MODULES)
    found: Method = import_module(MODULES[name]).METHOD
    return found


def methods() -> tuple[Method, ...]:
    """Every method, in the order in which they are offered."""
    return tuple(method(name) for name in MODULES)


def holds_atoms(bank: ConceptBank | None) -> bool:
    """Whether a bank is of atoms that an autoencoder has found."""
    from cbm.atoms import are_atoms

    return bank is not None and len(bank) > 0 and are_atoms(bank)


def without_texts(bank: ConceptBank | None) -> bool:
    """Whether some concept of a bank came from images alone: annotated ones, or atoms that were found in them."""
    return bank is not None and any(origin.source in ("annotation", "atom") for origin in bank.origin)


def missing(needs: tuple[Need, ...], data: TrainingSet) -> str:
    """Why a method cannot be fitted on this data, as one sentence; empty when it can."""
    there = {
        Need.CONCEPT_BANK: data.bank is not None and len(data.bank) > 0,
        Need.TEXT_BANK: not without_texts(data.bank),
        Need.TEXT_ENCODER: data.encoder is not None,
        Need.TEXT_OR_ATOMS: data.encoder is not None or holds_atoms(data.bank),
        Need.CONCEPT_LABELS: data.concept_labels is not None,
        Need.CANDIDATES: bool(data.candidates),
    }
    return "; ".join(need.value for need in needs if not there[need])


def fit(
    name: str,
    data: TrainingSet,
    *,
    bank: ConceptBank | None = None,
    on_progress: OnProgress = silent,
    group: Group = ALONE,
    **options: Json,
) -> ConceptModel:
    """Fit a method by name on a training set.

    Parameters
    ----------
    bank
        The concept bank to use; the training set's own when not given.
    group
        Processes that fit it together, each of which calls this with the same arguments.
    options
        Fields of the method's config; see `pellucid methods`.

    Raises
    ------
    ModelError
        If something that the method needs is missing.
    UsageError, UnknownName
        If an option is out of its bounds or does not exist, or several processes cannot fit this method together.
    DataError
        If the training images do not do: none, or of one class only.
    """
    data = data if bank is None else replace(data, bank=bank)
    return fit_again(Recipe(name, options=options), data, on_progress=on_progress, group=group)


def fit_again(
    recipe: Recipe, data: TrainingSet, *, on_progress: OnProgress = silent, group: Group = ALONE
) -> ConceptModel:
    """A model by the method and the options of a recipe, fitted on this data; raises what `fit` does."""
    chosen = method(recipe.method)
    config = build(chosen.config, recipe.options)
    reason = missing(chosen.needs, data)
    if reason:
        raise ModelError(
            f"{chosen.title} cannot be fitted: {reason}", hint="choose another method, or add what it needs"
        )
    if group.size > 1 and not chosen.shared:
        raise UsageError(
            f"several processes cannot fit {chosen.title} together",
            hint="start it without torchrun, or choose posthoc or dncbm",
        )
    model = chosen.fit(data, config, on_progress, *([group] if chosen.shared else []))
    on_progress(1.0, "fitted")
    return model


def resolved(options: object) -> Mapping[str, Any]:
    """A config value as a plain mapping, to be kept in a recipe."""
    return dict(vars(options))
