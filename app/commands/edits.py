"""`pellucid edit`: corrections of a model as data, with undo and redo."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.commands.call import Call, command
from app.commands.named import place, reference
from cbm.errors import DataError

if TYPE_CHECKING:
    from app.store import History

BRANCH = click.option("--branch", help="Which list of edits of the model, as in MODEL@BRANCH; else main.")


def register(main: click.Group) -> None:
    """Add the group to `pellucid`."""
    main.add_command(edit)


@click.group()
def edit() -> None:
    """Edits of a model: apply, log, undo, redo, diff, merge, replay."""


@command(edit, "apply")
@click.argument("model")
@click.option("--script", required=True, type=click.Path(path_type=Path), help="JSON list of edits.")
@click.option("--name", help="Keep MODEL as it is and make a model of this name with the edits.")
@BRANCH
@click.option("--dry-run", is_flag=True, help="Check the edits against the model and store nothing.")
def apply(call: Call, model: str, script: Path, name: str | None, branch: str | None, dry_run: bool) -> None:
    """Add the edits of a script to a model.

    \b
    Example:
      echo '[{"kind": "DropConcept", "concept": "water background"}]' > edits.json
      pellucid edit apply birds-posthoc --script edits.json --name birds-careful
    """
    from app import store
    from cbm import edits

    try:
        wanted = edits.loads(script.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{script} cannot be read: {error.strerror}", hint="give the path of a JSON file") from error
    model, branch = place(model, branch)
    history = store.history(call.ws, model, branch)
    if dry_run:
        edits.apply(edits.apply(store.base_model(call.ws, model), history.edits), wanted)
        call.answer({"model": model, "edits": len(wanted), "stored": False}, [f"{len(wanted)} edits fit {model}"])
        return
    if name is not None:
        row = store.model_row(call.ws, model)
        base = store.base_model(call.ws, model)
        store.add_model(call.ws, name, base, dataset=row.dataset, bank=row.bank)
        history = store.append(call.ws, name, (*history.edits, *wanted))
    else:
        history = store.append(call.ws, model, wanted, branch=branch)
    _answer(call, history)


@command(edit, "log")
@click.argument("model")
@BRANCH
def log(call: Call, model: str, branch: str | None) -> None:
    """The edits of a model, oldest first, and those that redo would bring back.

    \b
    Example:
      pellucid edit log birds-posthoc --json
    """
    from app import store

    _answer(call, store.history(call.ws, *place(model, branch)))


@command(edit, "undo")
@click.argument("model")
@click.option("--steps", default=1, show_default=True, type=click.IntRange(1), help="How many edits.")
@BRANCH
def undo(call: Call, model: str, steps: int, branch: str | None) -> None:
    """Take back the last edits.

    \b
    Example:
      pellucid edit undo birds-posthoc
    """
    from app import store

    model, branch = place(model, branch)
    _answer(call, store.undo(call.ws, model, branch=branch, steps=steps))


@command(edit, "redo")
@click.argument("model")
@click.option("--steps", default=1, show_default=True, type=click.IntRange(1), help="How many edits.")
@BRANCH
def redo(call: Call, model: str, steps: int, branch: str | None) -> None:
    """Bring back edits that were undone.

    \b
    Example:
      pellucid edit redo birds-posthoc --steps 2
    """
    from app import store

    model, branch = place(model, branch)
    _answer(call, store.redo(call.ws, model, branch=branch, steps=steps))


@command(edit, "diff")
@click.argument("left")
@click.argument("right")
def diff(call: Call, left: str, right: str) -> None:
    """Where the edits of two models (or of two branches, MODEL@BRANCH) part.

    \b
    Example:
      pellucid edit diff birds-posthoc birds-careful
    """
    from app import store
    from cbm.edits import describe, to_json
    from cbm.replay import conflicts

    pair = [store.history(call.ws, *reference(name)) for name in (left, right)]
    found = store.diff(pair[0].edits, pair[1].edits)
    parts = {"common": found.common, "left": found.left, "right": found.right}
    value: dict[str, Any] = {name: [to_json(edit) for edit in edits] for name, edits in parts.items()}
    value["same_base"] = len({store.model_row(call.ws, h.model).fingerprint for h in pair}) == 1
    opposed = conflicts(found.left, found.right)
    value["conflicts"] = [str(conflict) for conflict in opposed]
    lines = [f"{len(found.common)} edits in common" + ("" if value["same_base"] else "; the base models differ")]
    lines += [f"only {left}: {describe(edit)}" for edit in found.left]
    lines += [f"only {right}: {describe(edit)}" for edit in found.right]
    call.answer(value, lines + [f"conflict: {conflict}" for conflict in opposed])


@command(edit, "merge")
@click.argument("source", metavar="MODEL@BRANCH")
@click.option("--into", default="main", show_default=True, help="The branch that gets the edits.")
@click.option("--dry-run", is_flag=True, help="Say what would be brought over and store nothing.")
def merge(call: Call, source: str, into: str, dry_run: bool) -> None:
    """Bring the edits of one branch over to another, as far as they do not contradict it.

    \b
    Example:
      pellucid edit merge birds-posthoc@careful --into main --dry-run
    """
    from app import store
    from cbm.edits import describe, to_json
    from cbm.replay import brought_over, conflicts

    model, branch = reference(source)
    here = store.history(call.ws, model, into)
    parted = store.diff(here.edits, store.history(call.ws, model, branch).edits)
    over, opposed = brought_over(parted.left, parted.right), conflicts(parted.left, parted.right)
    if not dry_run:
        here, opposed = store.bring_over(call.ws, model, branch, into=into, expect_version=here.version)
    value: dict[str, Any] = {"model": model, "from": branch, "into": into, "stored": not dry_run}
    value |= {"edits": [to_json(edit) for edit in over], "conflicts": [str(conflict) for conflict in opposed]}
    lines = [f"{len(over)} edits {'would come' if dry_run else 'came'} over from {branch} to {into}"]
    lines += [f"  {describe(edit)}" for edit in over] + [f"conflict: {conflict}" for conflict in opposed]
    call.answer({**value, "version": here.version}, lines)


@command(edit, "replay")
@click.argument("source")
@click.argument("target")
@click.option("--dry-run", is_flag=True, help="Say what applies and store nothing.")
def replay(call: Call, source: str, target: str, dry_run: bool) -> None:
    """Apply the edits of one model to another, for example one that was trained again, and say what no longer applies.

    \b
    Example:
      pellucid edit replay birds-posthoc birds-posthoc-hybrid --dry-run
    """
    from app import store
    from cbm.edits import describe, to_json
    from cbm.replay import replay

    there = store.history(call.ws, *reference(source))
    model, branch = reference(target)
    before = store.history(call.ws, model, branch)
    found = replay(store.model(call.ws, model, branch=branch), there.edits)
    if found.edits and not dry_run:
        before = store.append(call.ws, model, found.edits, branch=branch, expect_version=before.version)
    steps = [{"edit": to_json(step.edit), "fate": step.fate.value, "reason": step.reason} for step in found.steps]
    value = {"from": source, "to": target, "stored": not dry_run, "steps": steps, "version": before.version}
    lines = [f"{len(found.edits)} of {len(found.steps)} edits apply to {target}"]
    lines += [
        f"{step.fate.value}: {describe(step.edit)}" + (f" ({step.reason})" if step.reason else "")
        for step in found.steps
    ]
    call.answer(value, lines)


def _answer(call: Call, history: "History") -> None:
    from cbm.edits import describe

    lines = [f"{history.model}, branch {history.branch}, version {history.version}: {len(history.edits)} edits"]
    lines += [f"{number:3}. {describe(edit)}" for number, edit in enumerate(history.edits, start=1)]
    call.answer(history.to_json(), lines + [f"undone: {describe(edit)}" for edit in history.undone])
