"""`pellucid models`, `eval` and `compare`: which models there are, and how good each is."""

from dataclasses import asdict
from typing import Any

import click

from app.commands.call import Call, command, metric_lines, shown, table
from app.commands.named import DATA, SPLIT, data_of, model_at, reference


def register(main: click.Group) -> None:
    """Add the commands to `pellucid`."""
    main.add_command(models)
    _register_eval(main)
    _register_compare(main)


@click.group()
def models() -> None:
    """Models: list, show, rename, delete."""


@command(models, "list")
def list_(call: Call) -> None:
    """All models.

    \b
    Example:
      pellucid models list --json
    """
    from app import store

    items = [asdict(row) for row in store.models(call.ws)]
    columns = ("name", "method", "dataset", "encoder", "bank", "edits")
    call.answer({"items": items}, table(items, columns, empty="no models; fit one with: pellucid train METHOD DATASET"))


@command(models, "show")
@click.argument("model")
def show(call: Call, model: str) -> None:
    """One model with its edits: recipe, sizes, notes of the fit, metrics.

    \b
    Example:
      pellucid models show birds-posthoc
    """
    from app import store

    row, value = store.model_row(call.ws, reference(model)[0]), model_at(call, model)
    sizes = {"concepts": list(value.concepts), "classes": list(value.classes), "edits": len(value.edits)}
    lines = [
        f"{model}: {row.method} on {row.dataset or 'unknown data'} with {row.encoder}, {len(value.edits)} edits",
        f"{len(value.concepts)} concepts, {len(value.classes)} classes, fitted on {value.recipe.images:,} images",
        *value.recipe.notes,
        *(f"{name} = {shown(option)}" for name, option in value.recipe.options.items()),
    ]
    call.answer({**asdict(row), **sizes, "notes": list(value.recipe.notes)}, lines)


@command(models, "rename")
@click.argument("model")
@click.argument("name")
def rename(call: Call, model: str, name: str) -> None:
    """Give a model another name; its edits go with it.

    \b
    Example:
      pellucid models rename birds-posthoc final
    """
    from app import store

    row = store.rename_model(call.ws, model, name)
    call.answer({"model": row.name}, f"{model} is now {row.name}")


@command(models, "delete")
@click.argument("model")
@click.option("--dry-run", is_flag=True, help="Say what would be lost and remove nothing.")
def delete(call: Call, model: str, dry_run: bool) -> None:
    """Remove a model with its edits.

    \b
    Example:
      pellucid models delete old --dry-run
    """
    from app import store

    row = store.model_row(call.ws, model)
    if not dry_run:
        store.delete_model(call.ws, model)
    verb = "would be removed" if dry_run else "is removed"
    call.answer({"model": model, "edits": row.edits, "removed": not dry_run}, f"{model} with {row.edits} edits {verb}")


def _register_eval(main: click.Group) -> None:
    @command(main, "eval")
    @click.argument("model")
    @SPLIT
    @DATA
    @click.option("--no-controls", is_flag=True, help="Leave out controls and ANEC, which take several fits.")
    @click.option("--seed", default=0, show_default=True, help="Of the intervals and of the controls.")
    def evaluate(call: Call, model: str, split: str, dataset: str | None, no_controls: bool, seed: int) -> None:
        """Measure a model on the images of a split.

        Task, groups, calibration, concepts, sparsity, accuracy at few concepts (ANEC) and controls, with intervals.

        \b
        Example:
          pellucid eval birds-posthoc --split shifted
        """
        from app import store
        from probes.metrics import evaluate

        value, data = model_at(call, model), data_of(call, model, dataset)
        controls = not no_controls
        found = evaluate(
            value, data, split=split, controls=controls, anec=controls, seed=seed, on_progress=call.progress
        ).to_json()
        name = reference(model)[0]
        if controls and not value.edits and dataset is None:
            store.set_metrics(call.ws, name, found, split=split)
        lines = [f"{model} on {found['n']:,} {split} images", *metric_lines(found["metrics"])]
        lines += [f"{metric}: {note}" for metric, note in found["notes"].items()]
        lines += [f"not computed: {metric}: {reason}" for metric, reason in found["not_computed"].items()]
        call.answer({"model": model, **found}, lines)


def _register_compare(main: click.Group) -> None:
    @command(main, "compare")
    @click.argument("models", nargs=-1, required=True)
    @SPLIT
    @DATA
    @click.option("--all", "everything", is_flag=True, help="Also the metrics on which all models are the same.")
    @click.option("--no-anec", is_flag=True, help="Leave out ANEC, which solves a path of heads for each model.")
    def compare(
        call: Call, models: tuple[str, ...], split: str, dataset: str | None, everything: bool, no_anec: bool
    ) -> None:
        """Show metrics of several models side by side, and what sets them apart from the first.

        Only metrics that differ; MODEL@BRANCH names a branch of a model's edits. Each model's accuracy is tested against
        the first one's on the same images: McNemar's test, exact, with Holm's correction over the models.

        \b
        Example:
          pellucid compare birds-posthoc birds-linear-probe --split shifted
        """
        from app.comparing import compared

        found = compared(call.ws, models, split=split, dataset=dataset, anec=not no_anec, on_progress=call.progress)
        rows = _side_by_side(found["items"], everything=everything)
        lines = table(rows, ("metric", *models), empty=f"on the {split} images nothing differs")
        call.answer(found, lines + [_pair_line(pair) for pair in found["pairs"]])


def _pair_line(pair: dict[str, Any]) -> str:
    gain, first, second = pair["difference"], pair["first"], pair["second"]
    return (
        f"{second} against {first} on {pair['n']:,} images: {gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f}); "
        f"only {first} is right on {len(pair['only_first'])}, only {second} on {len(pair['only_second'])}; "
        f"p {pair['p_value']:.2g}, corrected {pair['p_corrected']:.2g}"
    )


def _side_by_side(items: list[dict[str, Any]], *, everything: bool) -> list[dict[str, Any]]:
    metrics = dict.fromkeys(metric for item in items for metric in item["metrics"])
    rows = []
    for metric in metrics:
        values = {item["name"]: item["metrics"].get(metric, {}).get("value") for item in items}
        if everything or len(set(values.values())) > 1:
            rows.append({"metric": metric.replace("_", " "), **values})
    return rows
