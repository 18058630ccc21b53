"""`pellucid data` and `pellucid encoders`: what there is to embed, and with what."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from app.commands.call import Call, command, table
from cbm.published import MODULES

LAYOUT = click.option(
    "--layout",
    type=click.Choice(["auto", "folder", "manifest", "hf", *MODULES]),
    default="auto",
    show_default=True,
    help="How the images are laid out.",
)
SET = click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the layout; `pellucid data layouts` has them.",
)
LABEL = click.option("--label", help="What is to be predicted, where a data set has several; short for --set label=...")
WINDOW = click.option(
    "--window", metavar="CENTER,WIDTH", help="Of DICOM files: the window of stored values, such as 40,400."
)
FRAME = click.option("--frame", type=click.Choice(["first", "middle"]), help="Of DICOM files with several frames.")


def register(main: click.Group) -> None:
    """Add the commands to `pellucid`."""
    main.add_command(data)
    main.add_command(encoders)


@click.group()
def data() -> None:
    """Data sets: import, validate, list, show."""


@command(data, "import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the data set.")
@LAYOUT
@LABEL
@SET
@WINDOW
@FRAME
@click.option("--reference/--copy", default=False, help="Leave the files where they are, or copy them (default).")
@click.option("--skip-bad", is_flag=True, help="Leave out rows with errors instead of refusing.")
def import_(
    call: Call,
    path: Path,
    name: str,
    layout: str,
    label: str | None,
    pairs: tuple[str, ...],
    window: str | None,
    frame: str | None,
    reference: bool,
    skip_bad: bool,
) -> None:
    """Import class folders, a manifest (CSV, Parquet, JSON lines), a Hugging Face folder, a published data set (CUB,
    AwA2, CelebA, Derm7pt, WBCAtt, SkinCon), or an archive of these. DICOM files are imported without their patients.

    \b
    Examples:
      pellucid data import photos/ --name mine
      pellucid data import CUB_200_2011/ --name cub --set attributes=class
      pellucid data import celeba/ --name celeba --label Wearing_Hat
      pellucid data import scans/ --name scans --window=-600,1500
    """
    from app import tasks

    params = {"path": str(path.absolute()), "name": name, "layout": layout, "reference": reference}
    params |= {"skip_bad": skip_bad, "options": _options(pairs, label=label, window=window, frame=frame)}
    result = tasks.run(call.ws, "import", params, call.progress)
    call.answer(result, _report(result))


@command(data, "validate")
@click.argument("path", type=click.Path(path_type=Path))
@LAYOUT
@LABEL
@SET
@WINDOW
@FRAME
def validate(
    call: Call,
    path: Path,
    layout: str,
    label: str | None,
    pairs: tuple[str, ...],
    window: str | None,
    frame: str | None,
) -> None:
    """What an import would find; nothing is stored. Exit code 1 if it would be refused.

    \b
    Example:
      pellucid data validate photos/
    """
    from cbm.data import preflight

    options = _options(pairs, label=label, window=window, frame=frame)
    report = preflight(path, layout, options=options, on_progress=call.progress).to_json()
    call.answer(report, _report(report))
    if not report["ok"]:
        click.get_current_context().exit(1)


@command(data, "layouts")
def layouts(call: Call) -> None:
    """The layouts that are recognised, the folders that they look like, and their options.

    \b
    Example:
      pellucid data layouts
    """
    from cbm.hf_tables import Options
    from cbm.published import published

    items: list[dict[str, Any]] = [
        {"name": name, "title": title, "tree": tree, "options": _option_items(Options) if name == "hf" else []}
        for name, (title, tree) in _GENERAL.items()
    ]
    for known in map(published, MODULES):
        about = {"terms": known.terms, "contact": known.contact, "cite": known.cite}
        options = _option_items(known.options)
        items.append({"name": known.name, "title": known.title, "tree": known.tree, "options": options, **about})
    call.answer({"items": items}, [line for item in items for line in _layout_lines(item)])


@command(data, "list")
def list_(call: Call) -> None:
    """All data sets.

    \b
    Example:
      pellucid data list --json
    """
    from app import store

    items = [
        {
            "name": row.name,
            "images": row.size,
            "classes": len(row.classes),
            "concepts": len(row.concepts),
            "splits": dict(row.splits),
            "encoders": list(row.encoders),
        }
        for row in store.datasets(call.ws)
    ]
    empty = "no data sets; import one with: pellucid data import PATH --name NAME"
    call.answer({"items": items}, table(items, tuple(items[0]) if items else (), empty=empty))


@command(data, "show")
@click.argument("dataset")
def show(call: Call, dataset: str) -> None:
    """One data set: its splits, classes, concepts, and what its import remarked.

    \b
    Example:
      pellucid data show birds
    """
    from app import store

    row = store.dataset_row(call.ws, dataset)
    report = dict(row.report)
    item = {**report, "name": row.name, "images": row.size, "fingerprint": row.fingerprint}
    encoders = ", ".join(row.encoders) or "nothing yet"
    call.answer({**item, "encoders": list(row.encoders)}, [f"{row.name}, embedded with {encoders}", *_report(item)])


@click.group()
def encoders() -> None:
    """What turns images into embeddings."""


@command(encoders, "list")
@click.argument("pattern", default="")
def encoders_list(call: Call, pattern: str) -> None:
    """Encoders that need no download; with a PATTERN, all known ones that have it in their id.

    \b
    Example:
      pellucid encoders list siglip
    """
    from cbm.encoders import list_encoders

    items = [{"name": info.id, **asdict(info)} for info in list_encoders(pattern)]
    call.answer(
        {"items": items}, table(items, ("id", "installed", "note"), empty=f"no encoder has {pattern!r} in its id")
    )


_GENERAL = {
    "folder": ("class folders, with or without splits", "train/owl/1.jpg"),
    "manifest": ("a manifest, one row an image", "manifest.csv: path,label,split,group,c:CONCEPT"),
    "hf": (
        "a Hugging Face image folder, or tables with pictures inside",
        "metadata.csv, .parquet or .jsonl beside the images\n"
        "dataset_dict.json, train/data-00000-of-00001.arrow\ndata/train-00000-of-00001.parquet",
    ),
}


def _option_items(config: type) -> list[dict[str, Any]]:
    from cbm.config import specs

    return [
        {"name": spec.name, "default": spec.default, "choices": spec.choices, "help": spec.help}
        for spec in specs(config)
    ]


def _layout_lines(item: dict[str, Any]) -> list[str]:
    told = [f"{item['name']}: {item['title']}", *(f"    {line}" for line in item["tree"].splitlines())]
    for one in item["options"]:
        values = "|".join(one["choices"]) if one["choices"] else one["default"]
        told.append(f"    --set {one['name']}={'...' if values is None else values}: {one['help']}")
    return [*told, *([f"    {item['terms']} ({item['contact']})"] if "terms" in item else [])]


def _options(pairs: tuple[str, ...], **named: str | None) -> dict[str, str]:
    """The options of a layout, from `--set` and from those that have a name of their own."""
    from app.commands.train import pairs as read

    return read(pairs) | {name: value for name, value in named.items() if value is not None}


def _source_lines(source: dict[str, Any]) -> list[str]:
    """What was recognised, its terms, and what else could be the label."""
    if not source.get("says"):
        return []
    options = ", ".join(f"{name}={value}" for name, value in source["options"].items())
    labels = ", ".join(source["labels"])
    return [
        source["says"],
        *([f"Terms: {source['terms']}. {source['contact']}".rstrip()] if source["terms"] else []),
        *([f"Cite: {source['cite']}"] if source["cite"] else []),
        *([f"Read with {options}"] if options else []),
        *([f"The label can be: {labels}"] if labels else []),
    ]


def _report(report: dict[str, Any]) -> list[str]:
    splits = ", ".join(f"{name} {count:,}" for name, count in report["splits"].items())
    lines = [
        *_source_lines(report.get("source", {})),
        f"{report['images']:,} images ({splits})",
        f"{len(report['classes'])} classes, {len(report['concepts'])} annotated concepts",
    ]
    problems = [
        ": ".join(filter(None, (item.get("level", "problem"), item["kind"], item["path"], item["detail"])))
        for item in report["problems"]
    ]
    shown = problems[:20]
    return [*lines, *shown, *([f"and {len(problems) - 20} more; --json has them all"] if len(problems) > 20 else [])]
