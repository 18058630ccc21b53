"""`pellucid explain`: why a model decides as it does for one image, and what would turn the decision."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from app.commands.call import Call, command, table
from app.commands.named import embedding_of, model_at, reference

if TYPE_CHECKING:
    from cbm.counterfactuals import Counterfactual
    from cbm.model import ConceptModel


def register(main: click.Group) -> None:
    """Add the command to `pellucid`."""

    @command(main, "explain", computing=True)
    @click.argument("model")
    @click.argument("image")
    @click.option("--class", "class_", help="The class to explain; else the predicted one.")
    @click.option("--top", type=click.IntRange(1), help="How many concepts; else 10 to read, and all with --json.")
    def explain(call: Call, model: str, image: str, class_: str | None, top: int | None) -> None:
        """Show why a model decides as it does for one image.

        IMAGE is a file, or the id of an image of the model's data set.
        With --json, `rest` is the sum of the contributions that --top leaves out, so that all parts add up to the logit.
        At the end is the smallest set of concept changes, within what the training images show, that turns the decision.

        \b
        Example:
          pellucid explain birds-posthoc test-000035 --top 5
        """
        from cbm.explanations import explain

        value, x = model_at(call, model), embedding_of(call, model, image)
        found = explain(value, x, target=class_)
        lines = [
            f"{found.target}: probability {found.probability:.3f}, logit {found.logit:.3f}"
            + ("" if found.target == found.prediction else f" (the model decides for {found.prediction})")
        ]
        most = found.concepts[: top or 10]
        lines += table([asdict(concept) for concept in most], ("name", "score", "contribution"), empty="no concepts")
        rest = sum(concept.contribution for concept in found.concepts[len(most) :])
        lines.append(f"others {rest:.3f}, bias {found.bias:.3f}, residual {found.residual:.3f}")
        turned = _turned(call, model, value, x)
        lines += _turning(turned)
        counterfactual = None if turned is None else turned.to_json()
        call.answer({"model": model, "image": image, **found.to_json(top), "counterfactual": counterfactual}, lines)


def _turned(call: Call, name: str, model: "ConceptModel", x: Any) -> "Counterfactual | None":
    """The smallest set of changes that turns the decision; none where no training image says what the ranges are."""
    from app import cases, store
    from cbm.counterfactuals import smallest_change

    row = store.model_row(call.ws, reference(name)[0])
    if row.dataset is None or not model.concepts:
        return None
    data = store.training_set(call.ws, row.dataset, row.encoder)
    seen = cases.ranges(model.scores(data.split("train").x if "train" in data.split_names else data.x))
    return smallest_change(model, x, low=seen.low, high=seen.high, spread=seen.deviation)


def _turning(found: "Counterfactual | None") -> list[str]:
    """The changes as lines to read."""
    if found is None:
        return []
    how = "" if found.exact else ", found by a search: a smaller set may exist"
    return [f"it would be {found.becomes} with{how}"] + [
        f"  {change.concept} {change.score:.3f} to {change.to:.3f}" for change in found.changes
    ]
