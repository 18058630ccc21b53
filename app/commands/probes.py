"""`pellucid probe`: what the encoder does behind a model's concepts."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.commands import attention
from app.commands.call import Call, command, table
from app.commands.named import embedding_of, model_at, reference
from cbm.errors import UsageError

if TYPE_CHECKING:
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet

MOST = 8  # maps, when no concept is named
MAP_METHODS = ("decomposition", "dense", "gradcam", "relevance", "rollout", "integrated-gradients", "occlusion")


def register(main: click.Group) -> None:
    """Add the commands to `pellucid`."""
    main.add_command(probe)
    attention.register(probe)


@click.group()
def probe() -> None:
    """Look into the encoder: maps, attention, heads, layers."""


@command(probe, "maps", computing=True)
@click.argument("model")
@click.argument("image")
@click.option(
    "--concept", "concepts", multiple=True, help="Which; repeatable. Else the 8 that add most to the decision."
)
@click.option(
    "--method",
    "methods",
    type=click.Choice(MAP_METHODS),
    multiple=True,
    default=("decomposition",),
    show_default=True,
    help="How the maps are made; repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A PNG: the image, then a map a concept.")
def maps(
    call: Call, model: str, image: str, concepts: tuple[str, ...], methods: tuple[str, ...], out: Path | None
) -> None:
    """Show where in an image concepts are, or where their scores come from.

    IMAGE is a file, or the id of an image of the model's data set. In a decomposition, what the places add and the rest
    sum to the score. With --json, `values` holds a number a place, rows from the top; `scale` is what a method's maps
    show in full colour. In the PNG each method is a row.

    \b
    Examples:
      pellucid probe maps birds-posthoc test-000003 --concept "black bill" --out maps.png
      pellucid probe maps birds-posthoc test-000003 --method decomposition --method occlusion --out maps.png
    """
    from app import store
    from cbm.images import open_image
    from cbm.whole_files import write_bytes
    from probes.maps import concept_maps
    from probes.overlays import sheet_png

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"{out} does not end in .png", hint="maps are written as PNG: --out maps.png")
    value, row = model_at(call, model), store.model_row(call.ws, reference(model)[0])
    data = None if row.dataset is None else store.training_set(call.ws, row.dataset, row.encoder)
    names, picture = concepts or _deciding(call, value, model, image), open_image(_file(call, row.dataset, data, image))
    encoder, found, scales = store.load_encoder(call.ws, row.encoder), [], {}
    for method in dict.fromkeys(methods):
        found.append(concept_maps(value, encoder, picture, names, method=method))
        scales[method] = _scale(value, data, method)
    if out is not None:
        write_bytes(out, sheet_png(found, encoder.preprocessing.frame(picture), scales=list(scales.values())))
    maps = [one for made in found for one in made]
    columns = ("method", "concept", "score", "places", "rest")
    rows = [(m.method, m.concept, m.score, float(m.values.sum()), "" if m.rest is None else m.rest) for m in maps]
    shown = ", ".join(f"{scale:.3g} or more for {method}" for method, scale in scales.items())
    written = [] if out is None else [f"{out}: the image, then these maps; full colour in a place is {shown}"]
    call.answer(
        {
            "model": model,
            "image": image,
            "scale": next(iter(scales.values())),
            "scales": scales,
            "out": out,
            "items": [m.to_json() for m in maps],
        },
        [*table([dict(zip(columns, r, strict=True)) for r in rows], columns, empty="no concepts"), *written],
    )


def _deciding(call: Call, model: "ConceptModel", name: str, image: str) -> list[str]:
    from cbm.explanations import explain

    why = explain(model, embedding_of(call, name, image))
    return [part.name for part in why.concepts[:MOST]]


def _file(call: Call, dataset: str | None, data: "TrainingSet | None", image: str) -> Path:
    """Where the image is: that of the data set with this id, or else the file with this path."""
    from app import store

    if dataset is None or data is None or (image not in data.ids and Path(image).is_file()):
        return Path(image)
    return store.images_by_id(call.ws, dataset, [image])[0].path


def _scale(model: "ConceptModel", data: "TrainingSet | None", method: str) -> float:
    """The value of a place in full colour: from the scores of the data set, as on the screen; else from a score of 1."""
    import torch

    from probes.maps import common_scale

    return common_scale(torch.ones(1, 1) if data is None else model.scores(data.x), method)
