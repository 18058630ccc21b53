"""What a job told while it trained, as small curves: live while it runs, and after it."""

from collections.abc import Mapping, Sequence

import streamlit as st

from app import charts, jobs, readings
from app.glossary import METRICS, TRAINING
from app.readings import Point
from app.ui.loaded import workspace
from app.ui.pieces import chart, table
from app.ui.text import escape, title


def training_curves(job: int, *, key: str) -> bool:
    """A curve for every number that the job told, side by side; `False` if it told none."""
    pictures = grouped(readings.curves_of(workspace(), job))
    if not pictures:
        return False
    with st.grid(min(5, max(3, len(pictures))), min_column_width=160, gap="small"):
        for name, lines in pictures.items():
            with st.container(gap=None):
                said = "  ·  ".join(f"{escape(line)} {lines[line][-1].value:.3g}".strip() for line in lines)
                st.markdown(f"**{escape(heading(name))}** &ensp; :gray[{said}]", help=meaning(name) or None)
                rows = [(line, *point) for line, points in lines.items() for point in points]
                chart(
                    charts.training(lines),
                    alt=f"{heading(name)} while training, now "
                    + ", ".join(f"{line} {points[-1].value:.3g}".strip() for line, points in lines.items()),
                    key=f"{key}_{job}_{name}",
                    table=table(rows, ["line", "share done", heading(name), "when"]),
                )
    return True


def curves_of_model(name: str, dataset: str, *, key: str) -> None:
    """The curves of the job that fitted a model; nothing when it was fitted elsewhere."""
    about = {"name": name, "dataset": dataset}
    fitted = [
        row.id
        for row in jobs.jobs(workspace(), kind="fit")
        if row.state == "succeeded" and about.items() <= row.params.items()
    ]
    if fitted:
        training_curves(fitted[0], key=key)


def grouped(curves: Mapping[str, Sequence[Point]]) -> dict[str, dict[str, Sequence[Point]]]:
    """Curves by picture, then by line: what has the same name before a slash is one picture.

    Examples
    --------
    >>> one, two = [Point(0.0, 1.0, "")], [Point(0.0, 2.0, "")]
    >>> grouped({"accuracy/train": one, "accuracy/val": two}) == {"accuracy": {"train": one, "val": two}}
    True
    """
    pictures: dict[str, dict[str, Sequence[Point]]] = {}
    for name, points in curves.items():
        picture, _, line = name.partition("/")
        pictures.setdefault(picture, {})[line] = points
    return pictures


def heading(name: str) -> str:
    """A number's name in words.

    Examples
    --------
    >>> heading("accuracy"), heading("explained_variance"), heading("a_new_one")
    ('Accuracy', 'Explained variance', 'A new one')
    """
    known = TRAINING.get(name) or METRICS.get(name)
    return known.title if known else title(name.replace("_", " "))


def meaning(name: str) -> str:
    """What a number says, for those that the glossary has."""
    known = TRAINING.get(name) or METRICS.get(name)
    return known.help if known else ""
