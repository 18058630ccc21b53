"""`pellucid train`, `methods`, `models`, `eval`, `explain` and `compare`: fit a model and look at it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.commands.call import Call, command, shown, table
from app.commands.edits import reference
from cbm.errors import UsageError

if TYPE_CHECKING:
    from cbm.counterfactuals import Counterfactual
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet

DATA = click.option("--data", "dataset", metavar="DATASET", help="Another data set than the model was fitted on.")
SPLIT = click.option("--split", default="test", show_default=True, help="Which images.")


def register(main: click.Group) -> None:
    """Add the commands to `pellucid`."""
    main.add_command(models)
    _register_train(main)
    _register_methods(main)
    _register_eval(main)
    _register_explain(main)
    _register_compare(main)


def _register_train(main: click.Group) -> None:
    @command(main, "train", computing=True)
    @click.argument("method")
    @click.argument("dataset")
    @click.option("--encoder", help="Encoder id; else PELLUCID_ENCODER or builtin:demo.")
    @click.option("--concepts", "bank", help="Concept bank, for methods that need one.")
    @click.option("--candidates", type=click.Path(path_type=Path), help="JSON {class: [sentence, ...]}, for labo.")
    @click.option(
        "--vocabulary", type=click.Path(path_type=Path), help="Words, one a line; for v2c instead of those that ship."
    )
    @click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the method; repeatable.")
    @click.option("--seed", type=int, help="Short for --set seed=N, for methods that have it.")
    @click.option("--name", help="Name of the model; else DATASET-METHOD.")
    def train(
        call: Call,
        method: str,
        dataset: str,
        encoder: str | None,
        bank: str | None,
        candidates: Path | None,
        vocabulary: Path | None,
        settings: tuple[str, ...],
        seed: int | None,
        name: str | None,
    ) -> None:
        """Fit a method on an embedded data set.

        The model is measured on the validation images and stored.

        \b
        Example:
          pellucid train posthoc birds --concepts parts --set nec=8 --name sparse-birds
        """
        from app import tasks
        from app.commands.concepts import phrases
        from cbm.vocabulary import read_candidates

        options = pairs(settings) | ({} if seed is None else {"seed": seed})
        params = {"method": method, "dataset": dataset, "encoder": encoder or call.settings.encoder, "bank": bank}
        params |= {"options": options, "name": name or f"{dataset}-{method}"}
        params |= {} if candidates is None else {"candidates": read_candidates(candidates)}
        params |= {} if vocabulary is None else {"vocabulary": phrases(vocabulary)}
        result = tasks.run(call.ws, "fit", params, call.progress)
        lines = [
            f"{result['model']}: fitted by {method} in {result['seconds']:.1f} s; on {result['n']:,} {result['split']} images:"
        ]
        call.answer(result, lines + _metric_lines(result["metrics"]))


def _register_methods(main: click.Group) -> None:
    @command(main, "methods")
    def methods(call: Call) -> None:
        """List methods: what each needs, and its options.

        \b
        Example:
          pellucid methods --json
        """
        from cbm.config import specs
        from cbm.methods import methods

        items, lines = [], []
        for method in methods():
            options = [{**asdict(spec), "type": spec.type.__name__} for spec in specs(method.config)]
            item = {"name": method.name, "title": method.title, "summary": method.summary, "paper": method.paper}
            items.append({**item, "needs": [need.name.lower() for need in method.needs], "options": options})
            lines += [f"{method.name}: {method.summary}", *(f"    {need.value}" for need in method.needs)]
            lines += [f"    --set {_option_line(option)}" for option in options]
        call.answer({"items": items}, lines)


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
        lines = [f"{model} on {found['n']:,} {split} images", *_metric_lines(found["metrics"])]
        lines += [f"{metric}: {note}" for metric, note in found["notes"].items()]
        lines += [f"not computed: {metric}: {reason}" for metric, reason in found["not_computed"].items()]
        call.answer({"model": model, **found}, lines)


def _register_explain(main: click.Group) -> None:
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


def pairs(settings: tuple[str, ...]) -> dict[str, str]:
    """`("nec=8", "alpha=1")` as names and values.

    Examples
    --------
    >>> pairs(("nec=8", "alpha=1"))
    {'nec': '8', 'alpha': '1'}
    """
    wrong = [text for text in settings if "=" not in text]
    if wrong:
        raise UsageError(f"--set {wrong[0]} has no value", hint="write --set KEY=VALUE, for example --set nec=8")
    return {key.strip(): value.strip() for key, _, value in (text.partition("=") for text in settings)}


def _metric_lines(metrics: dict[str, Any]) -> list[str]:
    rows = [{"metric": name.replace("_", " "), **found} for name, found in metrics.items()]
    return table(rows, ("metric", "value", "low", "high", "n"), empty="nothing was measured")


def _option_line(option: dict[str, Any]) -> str:
    bounds = "" if option["low"] is None else f", {option['low']:g} to {option['high']:g}" if option["high"] else ""
    choices = ", one of " + ", ".join(option["choices"]) if option["choices"] else ""
    return f"{option['name']}={shown(option['default']) or 'none'}  {option['help']}{bounds}{choices}"


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
