"""`pellucid export` and `pellucid import`: take a model away, and bring one in."""

from pathlib import Path

import click

from app.commands.call import Call, command
from app.commands.edits import reference
from app.commands.models import data_of, model_at


def register(main: click.Group) -> None:
    """Add the commands to `pellucid`."""
    main.add_command(export)

    @command(main, "import")
    @click.argument("path", type=click.Path(path_type=Path))
    @click.option("--name", help="Name of the model; else that of the file.")
    def import_(call: Call, path: Path, name: str | None) -> None:
        """Bring in a bundle; its checksums are verified, and nothing in it is ever executed.

        \b
        Example:
          pellucid import final.zip --name from-lab
        """
        from app import store
        from cbm.io import load

        row = store.add_model(call.ws, name or path.stem, load(path))
        call.answer({"model": row.name, "fingerprint": row.fingerprint}, f"{row.name}: {row.method} for {row.encoder}")


@click.group()
def export() -> None:
    """Write a model, with its edits, to take away."""


OUT = click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Where to write.")


@command(export, "bundle")
@click.argument("model")
@OUT
def bundle(call: Call, model: str, out: Path) -> None:
    """A bundle of safetensors and JSON with checksums: a folder, or a zip file when OUT ends in .zip.

    \b
    Example:
      pellucid export bundle birds-posthoc -o final.zip
    """
    from app import store
    from cbm.io import fingerprint, save

    value, row = model_at(call, model), store.model_row(call.ws, reference(model)[0])
    metrics = None if value.edits else dict(row.metrics)  # the metrics are of the model before its edits
    contract, embeddings = value.recipe.contract, store.embedding_store(call.ws)
    known = contract in embeddings.contracts()
    preprocessing = embeddings.preprocessing(contract).to_dict() if known else None
    path = save(value, out.absolute(), metrics=metrics, preprocessing=preprocessing)
    call.answer({"model": model, "path": str(path), "fingerprint": fingerprint(value)}, str(path))


@command(export, "csv")
@click.argument("model")
@OUT
@click.option("--split", help="Which images; else all.")
@click.option("--data", "dataset", metavar="DATASET", help="Another data set than the model was fitted on.")
def csv(call: Call, model: str, out: Path, split: str | None, dataset: str | None) -> None:
    """One row an image: the decision, and every concept's score and contribution to it.

    \b
    Example:
      pellucid export csv birds-posthoc -o explained.csv --split test
    """
    from cbm.export import write_explanations

    data = data_of(call, model, dataset)
    chosen = data if split is None else data.split(split)
    path = write_explanations(model_at(call, model), chosen, out.absolute(), on_progress=call.progress)
    call.answer({"model": model, "path": str(path), "images": len(chosen)}, f"{path}: {len(chosen):,} images")
