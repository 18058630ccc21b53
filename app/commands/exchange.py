"""`pellucid export` and `pellucid import`: take a model away, and bring one in."""

from pathlib import Path

import click

from app.commands.call import Call, command
from app.commands.named import reference


def register(main: click.Group) -> None:
    """Add the commands to `pellucid`."""
    main.add_command(export)

    @command(main, "import")
    @click.argument("path", type=click.Path(path_type=Path))
    @click.option("--name", help="Name of the model; else that of the file.")
    @click.option("--classes", type=click.Path(path_type=Path, exists=True), help="Label-free CBM: one class a line.")
    @click.option("--encoder", default="", help="Label-free CBM: the encoder whose embeddings the model reads.")
    def import_(call: Call, path: Path, name: str | None, classes: Path | None, encoder: str) -> None:
        """Bring in a bundle; its checksums are verified, and nothing in it is ever executed.

        A folder that the Label-free CBM project saved (W_c.pt, W_g.pt, ...), or a zip file of it, will do too.

        \b
        Example:
          pellucid import final.zip --name from-lab
        """
        from app import exports

        names = (
            None
            if classes is None
            else [line.strip() for line in classes.read_text("utf-8").splitlines() if line.strip()]
        )
        row = exports.import_bundle(call.ws, path, name or path.stem, classes=names, encoder=encoder)
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
    from app import exports

    name, branch = reference(model)
    done = exports.write_bundle(call.ws, name, out.absolute(), branch=branch)
    told = {"model": model, "path": str(done.path), "fingerprint": done.fingerprint, "sha256": done.sha256}
    call.answer({**told, "edits": list(done.edits)}, str(done.path))


@command(export, "hf", computing=True)
@click.argument("model")
@OUT
def hf(call: Call, model: str, out: Path) -> None:
    """A folder for the Hugging Face hub: the bundle with a model card that is measured now where it is edited.

    \b
    Example:
      pellucid export hf birds-posthoc -o birds-posthoc-hf
    """
    from app import exports

    name, branch = reference(model)
    done = exports.write_bundle(call.ws, name, out.absolute(), branch=branch, measure=True, on_progress=call.progress)
    told = {"model": model, "path": str(done.path), "fingerprint": done.fingerprint}
    call.answer({**told, "edits": list(done.edits)}, str(done.path))


@command(export, "onnx", computing=True)
@click.argument("model")
@OUT
@click.option("--with-encoder", is_flag=True, help="Put the image tower in front: pixels in, decisions out.")
def onnx(call: Call, model: str, out: Path, with_encoder: bool) -> None:
    """An ONNX file, traced with zeros and compared with the model by onnxruntime before it is kept.

    \b
    Example:
      pellucid export onnx birds-posthoc -o birds.onnx
    """
    from app import exports

    name, branch = reference(model)
    done = exports.write_onnx(call.ws, name, out.absolute(), branch=branch, with_encoder=with_encoder)
    told = {"model": model, "path": str(done.path), "sha256": done.sha256, "input": done.input}
    text = f"{done.path}: reads {done.input}; differs from the model by at most {done.difference:.1g}"
    call.answer({**told, "difference": done.difference}, text)


@command(export, "html", computing=True)
@click.argument("model")
@OUT
def html(call: Call, model: str, out: Path) -> None:
    """One self-contained page: how well it decides, by what, examples, edits; no script, no network.

    \b
    Example:
      pellucid export html birds-posthoc -o birds.html
    """
    from app import exports

    name, branch = reference(model)
    path = exports.write_report(call.ws, name, out.absolute(), branch=branch, on_progress=call.progress)
    call.answer({"model": model, "path": str(path)}, str(path))


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
    from app import exports

    name, branch = reference(model)
    path, chosen = out.absolute(), {"branch": branch, "dataset": dataset, "split": split}
    images = exports.write_explanations(call.ws, name, path, **chosen, on_progress=call.progress)
    call.answer({"model": model, "path": str(path), "images": images}, f"{path}: {images:,} images")
