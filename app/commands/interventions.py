"""`pellucid intervene`: what corrections would do, with the annotations answering for an expert."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from app.commands.call import Call, command, table
from app.commands.named import DATA, SPLIT, data_of, model_at
from cbm.errors import UsageError

POLICIES = ("random", "uncertainty", "contribution", "coop", "expected", "greedy")  # of probes.policies, without torch

CORRECTIONS = ("answer", "class", "unknown")  # of probes.interventions
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
BY_NAME = "by name"


def register(main: click.Group) -> None:
    """Add the command to `pellucid`."""

    @command(main, "intervene", computing=True)
    @click.argument("model")
    @click.option("--policy", type=click.Choice(POLICIES), default="coop", show_default=True, help="Who chooses.")
    @click.option("--steps", type=click.IntRange(0), help="Concepts to correct on each image; else all that can be.")
    @click.option(
        "--edge", type=click.FloatRange(0.5, 1), default=0.95, show_default=True,
        help="Quantile of the training scores with the concept that stands for its presence.",
    )  # fmt: skip
    @click.option(
        "--to",
        type=click.Choice(CORRECTIONS),
        default="answer",
        show_default=True,
        help="What a correction sets: the answer's score, the score usual in the image's class, or the mean.",
    )
    @click.option(
        "--error", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of wrong answers."
    )
    @click.option("--cost", "cost", type=FILE, help="JSON {concept: cost}; the curve is then over what is spent.")
    @click.option(
        "--groups",
        is_flag=False,
        flag_value=BY_NAME,
        metavar="[FILE]",
        help="Ask for groups of concepts: JSON {group: [concept, ...]}; without a file, those that share a last word.",
    )
    @SPLIT
    @DATA
    @click.option("--seed", default=0, show_default=True, help="Of the random order and of the area's interval.")
    def intervene(
        call: Call,
        model: str,
        policy: str,
        steps: int | None,
        edge: float,
        to: str,
        error: float,
        cost: Path | None,
        groups: str | None,
        split: str,
        dataset: str | None,
        seed: int,
    ) -> None:
        """Show accuracy against the number of corrected concepts, or against what asking for them costs.

        The data set's annotations answer for the expert, so only concepts that are annotated under the model's name for
        them can be corrected. `greedy` looks at the labels too, as a bound for the others.

        \b
        Example:
          pellucid intervene birds-posthoc --policy uncertainty --steps 10 --split shifted
          pellucid intervene birds-posthoc --policy coop --error 0.1 --groups
        """
        from probes.interventions import intervention_curve

        value, data = model_at(call, model), data_of(call, model, dataset)
        curve = intervention_curve(
            value, data, policy=policy, split=split, steps=steps, edge=edge, to=to, error=error, seed=seed,
            groups=_groups(groups, value.concepts), costs=_costs(cost), on_progress=call.progress,
        )  # fmt: skip
        found, across = curve.to_json(), "corrected" if cost is None else "spent"
        rows = [
            {across: f"{spent:g}", "accuracy": point.value, "low": point.low, "high": point.high}
            for spent, point in zip(curve.spent, curve.accuracy, strict=True)
        ]
        lines = [
            f"{model} on {curve.n:,} {split} images, {policy}; {curve.concepts} concepts can be corrected"
            + ("" if groups is None else f" in {curve.questions} groups"),
            *table(rows, (across, "accuracy", "low", "high"), empty="no concepts"),
            f"area under the curve {curve.area}",
        ]
        call.answer({"model": model, **found}, lines)


def _groups(given: str | None, concepts: Sequence[str]) -> dict[str, list[str]] | None:
    """The groups of a file, or those that the names say."""
    from probes.questions import groups_by_name

    if given is None:
        return None
    if given == BY_NAME:
        return groups_by_name(concepts)
    found = _object(Path(given))
    right = all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in found.values())
    if not right:
        raise UsageError(f"{given} does not list concepts by group", hint='write {"wing": ["red wing", ...]}')
    return found


def _costs(path: Path | None) -> dict[str, float] | None:
    """The costs of a file."""
    if path is None:
        return None
    found = _object(path)
    if not all(isinstance(cost, (int, float)) for cost in found.values()):
        raise UsageError(f"{path} does not say what concepts cost", hint='write {"red wing": 2.5, ...}')
    return {name: float(cost) for name, cost in found.items()}


def _object(path: Path) -> dict[str, Any]:
    """A JSON object with something in it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path} is not a JSON object with something in it")
    return found
