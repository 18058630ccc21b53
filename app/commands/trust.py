"""`pellucid trust`: a verdict a concept, and what a model's explanations are worth."""

from typing import Any

import click

from app.commands.call import Call, command, table
from app.commands.named import reference

FLAGS = {"yes": "yes", "no": "no", "unknown": "?"}


def register(main: click.Group) -> None:
    """Add the command to `pellucid`."""

    @command(main, "trust", computing=True)
    @click.argument("model")
    @click.option("--split", default="test", show_default=True, help="Which images.")
    @click.option("--fresh", is_flag=True, help="Ask again even if the answer is kept.")
    def trust(call: Call, model: str, split: str, fresh: bool) -> None:
        """Say of each concept whether it exists, lies where it belongs, is used, and leaks.

        Beside it: leakage, controls, completeness and faithfulness of the whole model, each with its interval and what
        chance would give. The answer is kept until the model or the images change.

        \b
        Example:
          pellucid trust birds-posthoc
        """
        from app import tasks
        from app.trusting import kept_trust

        name, branch = reference(model)
        found = None if fresh else kept_trust(call.ws, name, split, branch=branch)
        if found is None:
            params = {"model": name, "branch": branch, "split": split}
            found = tasks.run(call.ws, "trust", params, call.progress)
        call.answer({**found, "model": model}, _lines(model, found))


def _lines(model: str, found: dict[str, Any]) -> list[str]:
    """The figures, then one line a concept, the gravest verdicts first."""
    counts = ", ".join(f"{count} {word}" for word, count in found["counts"].items())
    figures = [
        {"figure": name, "value": value["value"], "low": value["low"], "high": value["high"], "n": value["n"],
         "by chance": value["chance"]}
        for name, value in found["figures"].items()
    ]  # fmt: skip
    words = list(found["counts"])
    ordered = sorted(found["verdicts"], key=lambda verdict: words.index(verdict["verdict"]))
    return [
        f"{model} on {found['n']:,} {found['split']} images: {counts}",
        "",
        *table(figures, ("figure", "value", "low", "high", "n", "by chance"), empty="nothing could be measured"),
        *(f"not computed: {name}: {reason}" for name, reason in found["not_computed"].items()),
        "",
        *table([_row(verdict) for verdict in ordered], COLUMNS, empty="no concepts"),
    ]


COLUMNS = ("concept", "verdict", "exists", "located", "used", "leaked", "why")


def _row(verdict: dict[str, Any]) -> dict[str, object]:
    """A line of the table: the four answers with their numbers, and why the verdict is what it is."""
    cells = {question: _cell(verdict[question]) for question in ("exists", "located", "used", "leaked")}
    grave = {"doubtful name": "exists", "unchecked": "exists", "wrong place": "located", "leaks": "leaked"}
    why = verdict[grave.get(verdict["verdict"], "used")]["why"]
    return {"concept": verdict["concept"], "verdict": verdict["verdict"], **cells, "why": why}


def _cell(finding: dict[str, Any]) -> str:
    value = finding["value"]
    return FLAGS[finding["answer"]] + ("" if value is None else f" {value['value']:.2f}")
