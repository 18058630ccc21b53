"""`pellucid concepts`: banks of named directions, with where each came from and how good it is."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.commands.call import Call, command, table
from cbm.errors import DataError, UsageError

if TYPE_CHECKING:
    from cbm.bank import ConceptBank


def register(main: click.Group) -> None:
    """Add the group to `pellucid`."""
    main.add_command(concepts)


@click.group()
def concepts() -> None:
    """Concept banks: build, list, show, export."""


SOURCES = ("texts", "examples", "sentences", "vocabulary", "sae")
LISTS = ("visual", "attributes", "all")


@command(concepts, "build", computing=True, shared=True)
@click.argument("dataset")
@click.option("--encoder", help="Encoder id; else PELLUCID_ENCODER or builtin:demo.")
@click.option("--from", "source", type=click.Choice(SOURCES), required=True, help="Where they come from.")
@click.option(
    "--file", type=click.Path(path_type=Path),
    help="Phrases or words (text, CSV, JSON), or sentences by class (JSON, or as a language model printed them).",
)  # fmt: skip
@click.option("--list", "words", type=click.Choice(LISTS), help="Words that ship; without --file, all of them.")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(["noun", "adjective"]), help="Part of speech to keep."
)
@click.option("--group", "groups", multiple=True, help="Group of words to keep, such as colour; repeatable.")
@click.option("--most", type=click.IntRange(1, 50_000), help="Use so many words, the commonest.")
@click.option("--keep-named", is_flag=True, help="Keep words and sentences that name a class.")
@click.option("--name", required=True, help="Name of the bank.")
@click.option("--seed", default=0, show_default=True, help="Of every random choice.")
@click.option(
    "--width",
    "widths",
    type=click.IntRange(2, 65_536),
    multiple=True,
    help="Atoms to find, for an sae; several give a bank each.",
)
@click.option("--epochs", type=click.IntRange(1, 10_000), help="Passes over the images, for an sae.")
def build(
    call: Call,
    dataset: str,
    encoder: str | None,
    source: str,
    file: Path | None,
    words: str | None,
    parts: tuple[str, ...],
    groups: tuple[str, ...],
    most: int | None,
    keep_named: bool,
    name: str,
    seed: int,
    widths: tuple[int, ...],
    epochs: int | None,
) -> None:
    """Build a bank from phrases, annotated images, candidate sentences, words that ship, or what an autoencoder finds.

    The atoms of a sparse autoencoder (sae) are named with the phrases of --file, else with the data set's concept names,
    else with the attribute words that ship. Their bank serves `pellucid train dncbm` on any data set of the same encoder.
    A training that was stopped goes on when the same command is given again; torchrun shares it between processes.

    \b
    Examples:
      pellucid concepts build birds --from examples --name parts
      pellucid concepts build birds --from texts --file words.txt --name words
      pellucid concepts build birds --from sae --width 128 --width 256 --name atoms
      pellucid concepts build birds --from vocabulary --list attributes --group colour --name colours
      pellucid concepts build birds --from sentences --file answer.txt --name told
    """
    from app import store, tasks

    if file is not None and source == "examples":
        raise UsageError("--file has phrases, which --from examples does not use", hint="say --from texts")
    if source != "vocabulary" and (words or parts or groups or most):
        raise UsageError("--list, --part, --group and --most choose words", hint="say --from vocabulary")
    if file is not None and words:
        raise UsageError("--file and --list are two lists of words", hint="give one of them")
    if (widths or epochs) and source != "sae":
        raise UsageError("--width and --epochs are for autoencoders", hint="say --from sae")
    params: dict[str, Any] = {"dataset": dataset, "encoder": encoder or call.settings.encoder, "source": source}
    params |= {"name": name, "seed": seed, "names": not keep_named}
    if source == "texts":
        params["texts"] = phrases(file) if file else list(store.dataset_row(call.ws, dataset).concepts)
    elif source == "vocabulary":
        params |= {"words": phrases(file) if file else None, "list": words}
        params |= {"parts": list(parts), "groups": list(groups), "most": most}
    elif source == "sentences" and file:
        from cbm.vocabulary import read_candidates

        params["candidates"] = read_candidates(file)
    elif source == "sae":
        params |= {
            "widths": list(widths),
            "epochs": epochs,
            "names": "images",
            "texts": phrases(file) if file else None,
        }
    result = tasks.run(call.ws, "bank", params, call.progress, call.group)
    _answer(call, result["bank"], result.get("left_out", ""), result.get("banks", ()))


@command(concepts, "list")
def list_(call: Call) -> None:
    """All concept banks.

    \b
    Example:
      pellucid concepts list
    """
    from app import store

    items = [asdict(row) for row in store.banks(call.ws)]
    empty = "no concept banks; build one with: pellucid concepts build DATASET --from texts --name NAME"
    call.answer({"items": items}, table(items, ("name", "dataset", "encoder", "summary"), empty=empty))


@command(concepts, "show")
@click.argument("bank")
def show(call: Call, bank: str) -> None:
    """Every concept of a bank: where it came from, how good it is, and its near duplicates.

    \b
    Example:
      pellucid concepts show parts
    """
    _answer(call, bank)


@command(concepts, "export")
@click.argument("bank")
@click.argument("file", type=click.Path(path_type=Path))
def export(call: Call, bank: str, file: Path) -> None:
    """Write a bank as a folder, or as a zip file when FILE ends in .zip; safetensors and JSON.

    \b
    Example:
      pellucid concepts export parts parts.zip
    """
    from app import store
    from cbm.io import save_bank

    path = save_bank(store.bank(call.ws, bank), file.absolute())
    call.answer({"name": bank, "path": str(path)}, str(path))


def phrases(file: Path) -> list[str]:
    """The phrases of a text, CSV or JSON file, as `cbm.words.read_words` reads them."""
    from cbm.words import read_words

    try:
        return list(read_words(file.name, file.read_bytes()))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}", hint="check the path") from error


def _answer(call: Call, name: str, left_out: str = "", banks: Sequence[str] = ()) -> None:
    from app import store
    from cbm.bank import near_duplicates
    from cbm.encoders import limits_of_text

    row, bank = store.bank_row(call.ws, name), store.bank(call.ws, name)
    items = to_items(bank)
    twins = [{"first": a, "second": b, "cosine": cosine} for a, b, cosine in near_duplicates(bank)]
    limits = limits_of_text(row.encoder) if row.from_words else ""
    lines = [f"{name}: {len(bank)} concepts for {bank.encoder_id}", *filter(None, (limits, left_out))]
    lines += table(items, ("name", "group", "source", "auroc", "positives", "note"), empty="")
    lines += [
        f"nearly the same: {twin['first']} and {twin['second']} (cosine {twin['cosine']:.3f})" for twin in twins[:10]
    ]
    others = [other for other in banks if other != name]
    lines += [f"and {other}; see: pellucid concepts show {other}" for other in others]
    value = {"bank": name, "encoder": row.encoder, "limits": limits, "items": items, "near_duplicates": twins}
    call.answer(
        value | ({"left_out": left_out} if left_out else {}) | ({"banks": [name, *others]} if others else {}), lines
    )


def to_items(bank: "ConceptBank") -> list[dict[str, Any]]:
    """A bank's concepts as JSON, without their vectors."""
    return [
        {
            "name": name,
            "group": bank.groups.get(name),
            "source": origin.source,
            "detail": origin.detail,
            **({"words": [{"word": word, "closeness": close} for word, close in origin.words]} if origin.words else {}),
            **asdict(quality),
        }
        for name, origin, quality in zip(bank.names, bank.origin, bank.quality, strict=True)
    ]
