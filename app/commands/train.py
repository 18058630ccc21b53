"""`pellucid train` and `methods`: fit a model."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from app.commands.call import Call, command, metric_lines, shown
from cbm.errors import UsageError


def register(main: click.Group) -> None:
    """Add the commands to `pellucid`."""
    _register_train(main)
    _register_methods(main)


def _register_train(main: click.Group) -> None:
    @command(main, "train", computing=True, shared=True)
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

        The model is measured on the validation images and stored. Several processes that torchrun starts fit posthoc
        or dncbm together, each on its share of the images.

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
        result = tasks.run(call.ws, "fit", params, call.progress, call.group)
        lines = [
            f"{result['model']}: fitted by {method} in {result['seconds']:.1f} s; on {result['n']:,} {result['split']} images:"
        ]
        call.answer(result, lines + metric_lines(result["metrics"]))


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


def _option_line(option: dict[str, Any]) -> str:
    bounds = "" if option["low"] is None else f", {option['low']:g} to {option['high']:g}" if option["high"] else ""
    choices = ", one of " + ", ".join(option["choices"]) if option["choices"] else ""
    return f"{option['name']}={shown(option['default']) or 'none'}  {option['help']}{bounds}{choices}"
