"""`pellucid fix`: from a few labelled images of a new place to an edit that helps there."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.commands.call import Call, command, table
from app.commands.named import data_of, model_at, reference
from cbm.errors import UsageError

if TYPE_CHECKING:
    from cbm.adapt import Fix
    from probes.fixes import FixReport, NullCheck

SHOWN = ("concept", "verdict", "p", "rise", "fall", "agreement", "confusion", "gain")
MOST = 12  # concepts in the table for people


def register(main: click.Group) -> None:
    """Add the group to `pellucid`."""
    main.add_command(fix)


@click.group()
def fix() -> None:
    """Test-time fixes: find the concepts that mislead in a new place."""


@command(fix, "fit", computing=True)
@click.argument("model")
@click.option("--support", type=click.Path(path_type=Path), help="Manifest of labelled images from the new place.")
@click.option("--split", help="Images of the new place to measure on, and to draw from; else the first unusual split.")
@click.option("--per-class", default=4, show_default=True, type=click.IntRange(1), help="Images of a class to draw.")
@click.option("--seed", default=0, show_default=True, help="Of the draw, and of the intervals.")
@click.option("--branch", help="Name of the branch to keep it on; else that of the place.")
@click.option("--name", help="Keep it as a model of this name instead.")
@click.option("--draws", default=100, show_default=True, type=click.IntRange(2), help="Draws of the null check.")
@click.option("--accept-loss", is_flag=True, help="Keep it though it would lose more than 1 point at the source.")
@click.option("--dry-run", is_flag=True, help="Show the evidence and store nothing.")
def fit(
    call: Call,
    model: str,
    support: Path | None,
    split: str | None,
    per_class: int,
    seed: int,
    branch: str | None,
    name: str | None,
    draws: int,
    accept_loss: bool,
    dry_run: bool,
) -> None:
    """Find which concepts mislead in a new place, and keep the edit that helps.

    A few labelled images of every class are enough: listed in a manifest (CSV with path and label), or drawn from a
    split. The edit is kept on a branch of its own, so that the model stays as it is where it comes from.

    \b
    Examples:
      pellucid fix fit cells-posthoc --per-class 4 --dry-run
      pellucid fix fit cells-posthoc --support laboratory-b.csv --split shifted --branch laboratory-b
    """
    from app import fixing
    from cbm.adapt import find_fix
    from probes.fixes import bootstrap_gain, measure_fix, null_check, source_of

    value, data = model_at(call, model), data_of(call, model, None)
    place = split or fixing.place_of(data)
    if support is None:
        given = fixing.drawn_support(data, place, per_class=per_class, seed=seed)
    else:
        given = fixing.listed_support(call.ws, str(_row(call, model).dataset), data, support)
    named = None if place is None else fixing.place_name(data, place)
    source = source_of(value, data)
    found = find_fix(value, given.x, given.labels, source)
    report = measure_fix(value, found, given, data, place)
    redrawn = None if place is None else bootstrap_gain(value, given, data, place, source, seed=seed)
    fewest = int(given.labels.bincount().min()) or 1
    null = null_check(
        value, data, source, per_class=fewest, draws=draws, seed=seed, split=_null_split(data.split_names),
        on_progress=call.progress,
    )  # fmt: skip
    stored = (
        None if dry_run or not found.edits else _keep(call, model, found, report, branch or named, name, accept_loss)
    )
    call.answer(
        {"model": model, "stored": stored, **_found(found), "report": report.to_json(),
         "gain_over_supports": None if redrawn is None else asdict(redrawn), "null_check": asdict(null)},
        [*_lines(model, found, report, null), *([f"kept as {stored}"] if stored else ["nothing was stored"])],
    )  # fmt: skip


def _keep(
    call: Call, model: str, found: "Fix", report: "FixReport", branch: str | None, name: str | None, accept_loss: bool
) -> str:
    """Store the edit, and say under which reference."""
    from app import fixing

    base, source = reference(model)
    lost = report.source_before.value - report.source_after.value
    if lost > fixing.MOST_LOST + 1e-9 and not accept_loss:
        raise UsageError(
            f"used at the source too, the fix would lose {100 * lost:.1f} points there; nothing was stored",
            hint="look at it with --dry-run, or keep it with --accept-loss",
        )
    if name is not None:
        return fixing.keep_as_model(call.ws, base, name, found.edits, source=source).model
    if branch is None:
        raise UsageError("the branch needs a name", hint="give the place's name with --branch")
    kept = fixing.keep_profile(call.ws, base, branch, found.edits, source=source)
    return f"{kept.model}@{kept.branch}"


def _row(call: Call, model: str) -> Any:
    from app import store

    return store.model_row(call.ws, reference(model)[0])


def _null_split(names: tuple[str, ...]) -> str:
    """Source images that the model was not fitted on, if there are any."""
    return next((name for name in ("val", "test") if name in names), names[0])


def _found(found: "Fix") -> dict[str, Any]:
    from cbm.edits import to_json

    return {
        "images": found.images,
        "masked": list(found.masked),
        "amplified": dict(found.amplified),
        "edits": [to_json(edit) for edit in found.edits],
        "evidence": [{**asdict(e), "verdict": e.verdict.value} for e in found.evidence],
    }


def _lines(model: str, found: "Fix", report: "FixReport", null: "NullCheck") -> list[str]:
    rows = [{**asdict(e), "verdict": e.verdict.value} for e in found.evidence if e.verdict.value != "as at the source"]
    rows.sort(key=lambda row: (row["gain"] == 1, -abs(float(row["confusion"]))))
    lines = [
        f"{model}, {found.images} labelled images: {len(found.masked)} concepts masked, {len(found.amplified)} amplified",
        *table(rows[:MOST], SHOWN, empty="no concept has moved: no shift found"),
    ]
    lines += [f"and {len(rows) - MOST} more that have moved"] if len(rows) > MOST else []
    if report.gain is not None:
        lines.append(f"new place: {report.target_before} becomes {report.target_after}; gain {report.gain}")
    lines.append(f"source, if it were used there: {report.source_before} becomes {report.source_after}")
    if report.gated_source is not None:
        lines.append(f"behind a gate: new place {report.gated_target or 'unknown'}, source {report.gated_source}")
    lines += [
        f"{name}: new place {here or 'unknown'}, source {there}" for name, (here, there) in report.baselines.items()
    ]
    return [*lines, f"null check: {null.masks.value:.2f} masks a draw of the source ({null.masks.low:.2f} to "
            f"{null.masks.high:.2f}), something changed in {null.any}"]  # fmt: skip
