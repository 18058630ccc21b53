"""`pellucid probe attention`, `heads` and `layers`: what attention looks at, which heads matter, where concepts appear."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.commands.call import Call, command, table
from app.commands.named import model_at, reference
from cbm.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from probes.head_effects import Look

COLUMNS = ("head", "entropy", "distance", "special", "neighbours", "variability", "without it", "gradient")


def register(probe: click.Group) -> None:
    """Add the commands to `pellucid probe`."""
    _register_attention(probe)
    _register_heads(probe)
    _register_layers(probe)


def _register_attention(probe: click.Group) -> None:
    @command(probe, "attention", computing=True)
    @click.argument("model")
    @click.argument("image")
    @click.option("--concept", help="Draw what each head adds to its score, and not what it looks at.")
    @click.option(
        "--out", type=click.Path(path_type=Path, dir_okay=False), help="A PNG: a row a layer, a column a head."
    )
    def attention(call: Call, model: str, image: str, concept: str | None, out: Path | None) -> None:
        """Show what every head of the encoder looks at in an image.

        IMAGE is a file, or the id of an image of the model's data set. With --json, `attention` holds for each layer and
        head the share of each place, rows from the top; `rollout` that of all layers together.

        \b
        Example:
          pellucid probe attention birds-posthoc test-000003 --concept "black bill" --out heads.png
        """
        from app import store
        from cbm.images import open_image
        from cbm.whole_files import write_bytes
        from probes.head_pictures import heads_png, strength

        if out is not None and out.suffix.lower() != ".png":
            raise UsageError(f"{out} does not end in .png", hint="pictures are written as PNG: --out heads.png")
        encoder = store.load_encoder(call.ws, store.model_row(call.ws, reference(model)[0]).encoder)
        picture = open_image(_file(call, model, image))
        seen, effects = _looked(call, model, encoder, picture, concept)
        shares = seen.attention()
        if out is not None:
            shown = shares if effects is None else effects
            write_bytes(
                out, heads_png(shown, encoder.preprocessing.frame(picture), scale=strength(shown, effects is None))
            )
        rows = [
            {"layer": b + 1, **{f"head {h + 1}": float(places.sum()) for h, places in enumerate(line)}}
            for b, line in enumerate(shares if effects is None else effects)
        ]
        what = (
            "share of the class token's attention that goes to the image" if effects is None else f"added to {concept}"
        )
        call.answer(
            {
                "model": model, "image": image, "concept": concept, "out": out, "attention": shares.tolist(),
                "rollout": seen.rollout().tolist(), "effects": None if effects is None else effects.tolist(),
            },
            [what, *table(rows, list(rows[0]), empty="no heads"), *([] if out is None else [f"{out}: a row a layer"])],
        )  # fmt: skip


def _looked(call: Call, model: str, encoder: Any, picture: Any, concept: str | None) -> "tuple[Look, Tensor | None]":
    import torch

    from cbm.encoders import check_contract
    from probes.head_effects import effects_of_heads, look

    value = model_at(call, model)
    check_contract(encoder, value.recipe.contract or encoder.contract)
    seen = look(encoder, torch.from_numpy(encoder.preprocessing(picture)))
    return seen, None if concept is None else effects_of_heads(value, encoder, seen, [concept]).places[0]


def _file(call: Call, model: str, image: str) -> Path:
    """Where the image is: that of the model's data set with this id, or else the file with this path."""
    from app import store

    dataset = store.model_row(call.ws, reference(model)[0]).dataset
    if Path(image).is_file() or dataset is None:
        return Path(image)
    return store.images_by_id(call.ws, dataset, [image])[0].path


def _register_heads(probe: click.Group) -> None:
    @command(probe, "heads", computing=True)
    @click.argument("model")
    @click.option("--concept", default="", help="Importance for this concept's score, and not for the decision.")
    @click.option("--images", default=96, show_default=True, type=click.IntRange(2), help="Test images to measure on.")
    @click.option("--gates", is_flag=True, help="Also learn which heads can go, and draw the pruning curve; minutes.")
    @click.option("--steps", default=300, show_default=True, type=click.IntRange(1), help="Of learning the gates.")
    @click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Runs of learning the gates.")
    @click.option("--replacement", type=click.Choice(["mean", "zero"]), default="mean", show_default=True,
                  help="What comes instead of a closed head.")  # fmt: skip
    def heads(
        call: Call, model: str, concept: str, images: int, gates: bool, steps: int, seeds: int, replacement: str
    ) -> None:
        """Say what every head looks at, and what is lost without it.

        `without it` is how far the answer moves, in nats, when the head is closed; `gradient` guesses that from one pass
        (Michel et al.). With --gates, noisy gates (VTrans) say which heads can go. Results are kept and not computed twice.

        \b
        Example:
          pellucid probe heads birds-posthoc --concept "forked tail"
        """
        from app import tasks
        from app.probing import heads_params, probed

        name, branch = reference(model)
        learning = {"steps": steps, "seeds": seeds} if gates else {}
        params = heads_params(name, branch, concept=concept, images=images, replacement=replacement, **learning)
        tasks.run(call.ws, "heads", params, call.progress)
        found = probed(call.ws, "heads", params) or {}
        call.answer({"model": model, **found}, _heads_lines(found))


def _heads_lines(found: Mapping[str, Any]) -> list[str]:
    rows = []
    for b, line in enumerate(found["ablation"]):
        for h, cell in enumerate(line):
            seen = {name: found["statistics"][name][b][h]["value"] for name in COLUMNS[1:6]}
            rows.append({
                "head": f"{b + 1}.{h + 1}", **seen, "without it": cell["value"], "gradient": found["michel"][b][h],
                **({"kept": found["gates"]["kept"][-1][b][h]} if "gates" in found else {}),
            })  # fmt: skip
    lines = table(rows, [*COLUMNS, *(["kept"] if "gates" in found else [])], empty="no heads")
    if found["saturated"]:
        lines.append("the target hardly reacts to any head: its gradients say nothing")
    if "gates" in found:
        lines += [f"Spearman, {a} and {b}: {value:.2f}" for a, b, value in found["agreement"]["spearman"]]
        without = found["gates"]["without"]
        for beta, share, left in zip(found["gates"]["betas"], found["gates"]["overlap"], without, strict=True):
            before, after = left["before"]["value"], left["after"]["value"]
            lines.append(
                f"beta {beta:g}: overlap with ablation {share:.2f}; accuracy {before:.3f}, with the kept heads {after:.3f}"
            )
    return lines


def _register_layers(probe: click.Group) -> None:
    @command(probe, "layers", computing=True)
    @click.argument("model")
    @click.option("--concept", "concepts", multiple=True, help="Which; repeatable. Else the one that weighs most.")
    @click.option("--draws", default=3, show_default=True, type=click.IntRange(1), help="Control tasks for each probe.")
    def layers(call: Call, model: str, concepts: tuple[str, ...], draws: int) -> None:
        """Say at which layer a concept can be read off the encoder.

        Linear probes of the class token and of the mean patch, and an attentive probe, beside control tasks: labels that mean
        nothing but are as consistent within a class. What a probe does better on the concept is what counts.

        \b
        Example:
          pellucid probe layers birds-posthoc --concept "forked tail"
        """
        from app import tasks
        from app.probing import layers_params, probed

        name, branch = reference(model)
        items = []
        for concept in concepts or _weightiest(call, model):
            params = layers_params(name, branch, concept, draws=draws)
            tasks.run(call.ws, "layers", params, call.progress)
            found = probed(call.ws, "layers", params) or {}
            items.append({key: value for key, value in found.items() if key != "attentive"})
        call.answer({"model": model, "items": items}, [line for item in items for line in _layer_lines(item)])


def _weightiest(call: Call, model: str) -> list[str]:
    """The concept with the largest weights."""
    from cbm.model import linear_head

    value = model_at(call, model)
    if not value.concepts:
        raise UsageError(f"{model} has no concepts", hint="choose another model, or name a concept with --concept")
    return [value.concepts[int(linear_head(value).weight.abs().sum(0).argmax())]]


def _layer_lines(item: Mapping[str, Any]) -> list[str]:
    rows: list[dict[str, Any]] = []
    for probe, found in item["probes"].items():
        for at in found:
            auroc, control = at["auroc"], at["control"]["value"]
            rows.append({
                "probe": probe, "layer": at["layer"], "AUROC": auroc["value"], "low": auroc["low"], "high": auroc["high"],
                "control": control, "selectivity": auroc["value"] - control,
            })  # fmt: skip
    columns: Sequence[str] = ("probe", "layer", "AUROC", "low", "high", "control", "selectivity")
    labels = "annotations" if item["source"] == "annotation" else "the model's own scores, above their median"
    kind = "classes" if item["by_class"] else "images"
    head = f"{item['concept']}: {item['train']} training and {item['test']} test images, labels from {labels}; controls of {kind}"
    return [head, *table(rows, columns, empty="no layers")]
