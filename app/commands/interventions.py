"""`pellucid intervene`: how fast decisions get better when an expert corrects concepts."""

import click

from app.commands.call import Call, command, table
from app.commands.models import DATA, SPLIT, data_of, model_at

POLICIES = ("random", "uncertainty", "contribution", "coop", "expected", "greedy")  # of probes.policies, without torch


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
    @SPLIT
    @DATA
    @click.option("--seed", default=0, show_default=True, help="Of the random order and of the area's interval.")
    def intervene(
        call: Call, model: str, policy: str, steps: int | None, edge: float, split: str, dataset: str | None, seed: int
    ) -> None:
        """Show accuracy against the number of corrected concepts.

        The data set's annotations answer for the expert, so only concepts that are annotated under the model's name for
        them can be corrected. `greedy` looks at the labels too, as a bound for the others.

        \b
        Example:
          pellucid intervene birds-posthoc --policy uncertainty --steps 10 --split shifted
        """
        from probes.interventions import intervention_curve

        value, data = model_at(call, model), data_of(call, model, dataset)
        curve = intervention_curve(
            value, data, policy=policy, split=split, steps=steps, edge=edge, seed=seed, on_progress=call.progress
        )
        found = curve.to_json()
        rows = [
            {"corrected": i, "accuracy": point.value, "low": point.low, "high": point.high}
            for i, point in enumerate(curve.accuracy)
        ]
        lines = [
            f"{model} on {curve.n:,} {split} images, {policy}; {curve.concepts} concepts can be corrected",
            *table(rows, ("corrected", "accuracy", "low", "high"), empty="no concepts"),
            f"area under the curve {curve.area}",
        ]
        call.answer({"model": model, **found}, lines)
