"""What a command line names: a model with one of its branches, the data to measure it on, an image."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.commands.call import Call
from cbm.errors import UsageError

if TYPE_CHECKING:
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet

DATA = click.option("--data", "dataset", metavar="DATASET", help="Another data set than the model was fitted on.")
SPLIT = click.option("--split", default="test", show_default=True, help="Which images.")


def reference(text: str) -> tuple[str, str]:
    """Model and branch of `MODEL` or `MODEL@BRANCH`.

    Examples
    --------
    >>> reference("birds-posthoc"), reference("birds-posthoc@careful")
    (('birds-posthoc', 'main'), ('birds-posthoc', 'careful'))
    """
    model, _, branch = text.partition("@")
    return model, branch or "main"


def place(text: str, branch: str | None) -> tuple[str, str]:
    """The same where the branch may also stand in an option of its own.

    Examples
    --------
    >>> place("birds-posthoc", "careful"), place("birds-posthoc@careful", None)
    (('birds-posthoc', 'careful'), ('birds-posthoc', 'careful'))
    """
    model, named = reference(text)
    if branch and "@" in text and branch != named:
        raise UsageError(f"{text} and --branch {branch} name two branches", hint="give one of them")
    return model, branch or named


def model_at(call: Call, text: str) -> "ConceptModel":
    """The model that `MODEL` or `MODEL@BRANCH` names, with its edits applied."""
    from app import store

    name, branch = reference(text)
    return store.model(call.ws, name, branch=branch)


def data_of(call: Call, model: str, dataset: str | None) -> "TrainingSet":
    """The embedded data set to measure a model on: its own unless another is named."""
    from app import store

    row = store.model_row(call.ws, reference(model)[0])
    if dataset is None and row.dataset is None:
        raise UsageError(f"{row.name} does not belong to a data set here", hint="name one with --data DATASET")
    return store.training_set_of(call.ws, row.method, dataset or str(row.dataset), row.encoder)


def embedding_of(call: Call, model: str, image: str) -> Any:
    """Embedding `[d]` of an image: stored when it is an id of the model's data set, else computed from the file."""
    from app import store
    from cbm.embeddings import encode_image
    from cbm.encoders import check_contract

    row = store.model_row(call.ws, reference(model)[0])
    if row.dataset is not None:
        data = store.training_set(call.ws, row.dataset, row.encoder)
        if image in data.ids:
            return data.x[data.ids.index(image)]
    if not Path(image).is_file():
        where = f"neither a file nor an image of {row.dataset}" if row.dataset else "not a file"
        raise UsageError(f"{image!r} is {where}", hint="give a path, or an id as in the data set's manifest")
    encoder = store.load_encoder(call.ws, row.encoder)
    check_contract(encoder, model_at(call, model).recipe.contract)
    return encode_image(encoder, Path(image))
