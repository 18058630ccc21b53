"""What the screen Compare draws of several models: few concepts, groups, calibration and corrections, each on one chart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from app import charts
from app.glossary import CONTROLS, title_of_metric
from app.measuring import kept_curve
from app.ui.many_images import POLICIES, TYPICAL
from app.ui.measured import figure
from app.ui.pieces import callback, chart, table
from app.ui.side_by_side import Contender, corrected, few_concepts
from app.ui.text import escape, estimate, percent, plural
from app.ui.work import following, start
from cbm.errors import PellucidError
from probes.calibration import reliability
from probes.metrics import SMALLEST_GROUP

if TYPE_CHECKING:
    from probes.intervals import Estimate

STEPS = 20  # corrections an image
RANDOM = "random concepts"


def accuracies(found: Sequence[Contender], split: str) -> None:
    """Accuracy of each model with its interval, and the controls that were measured for it."""
    kinds = ["accuracy", *(name for name in CONTROLS if any(name in one.numbers for one in found))]
    series = {
        "this model" if name == "accuracy" else title_of_metric(name): [one.numbers.get(name) for one in found]
        for name in kinds
    }
    rows = [
        (one.name, title, value.value, value.low, value.high, value.n)
        for title, values in series.items()
        for one, value in zip(found, values, strict=True)
        if value is not None
    ]
    chart(
        charts.rows_of_dots([one.name for one in found], series, axis=f"accuracy on {split}"),
        alt="; ".join(f"{one.name}: {figure('accuracy', one.numbers['accuracy'])}" for one in found),
        key="accuracies",
        table=table(rows, ["model", "what", "accuracy", "low", "high", "images"]),
        note="Dots with 95 % intervals. Intervals of single models may overlap and the difference still be sure: see the tests."
        + ("" if len(kinds) > 1 else " Controls appear once they are measured."),
    )


def unmeasured(found: Sequence[Contender], split: str) -> None:
    """The offer to measure what takes more than a moment, and how far that is."""
    missing = [one.name for one in found if not one.row.edits and "nec_curve" not in one.row.metrics.get(split, {})
               and "shuffled_label_accuracy" not in one.numbers]  # fmt: skip
    if missing:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(
                f"Measure controls and few concepts of {plural(len(missing), 'model')}", icon=":material/speed:",
                key="measure", on_click=_measure, args=(missing, split),
            )  # fmt: skip
            st.caption("A job of some seconds to minutes a model; the numbers stay with it.", width="content")
    following(["measure"], about={"split": split}, key="measuring")


@callback
def _measure(models: Sequence[str], split: str) -> None:
    for name in models:
        start("measure", {"model": name, "split": split})


def frontier(found: Sequence[Contender], dataset: str, split: str) -> None:
    """Accuracy against the number of effective concepts."""
    curves, absent, waiting = {}, [], []
    for one in found:
        try:
            curve = few_concepts(one, dataset)
        except PellucidError as error:
            absent.append(f"{escape(one.name)}: {error.message}")
            continue
        if curve is None:
            waiting.append(one.name)
        else:
            curves[one.name] = curve
    if curves:
        series = {
            f"{name}{' (cut)' if curve.how == 'cut' else ''}": _distinct([(p.nec, p.accuracy) for p in curve.points])
            for name, curve in curves.items()
        }
        chance = kept_curve(found[0].row, split, "random_nec_curve")
        if chance is not None:
            series[RANDOM] = _distinct([(p.nec, p.accuracy) for p in chance.points])
            curves[RANDOM] = chance
        rows = [
            (name, curve.how, p.level, p.nec, p.fewest, p.most, p.accuracy.value, p.accuracy.low, p.accuracy.high, p.accuracy.n)
            for name, curve in curves.items()
            for p in curve.points
        ]  # fmt: skip
        chart(
            charts.lines(
                series, axis=f"accuracy on {split}", across="effective concepts per class (NEC)", controls=[RANDOM]
            ),
            alt="; ".join(f"{name}: ANEC-avg {estimate(curve.mean)}" for name, curve in curves.items()),
            key="frontier",
            table=table(
                rows, ["model", "how", "allowed", "NEC", "fewest", "most", "accuracy", "low", "high", "images"]
            ),
            note="Fair comparison is at equal NEC: with many concepts, even random ones do well. A sparse head is solved again "
            "for each number; “cut” heads, never fitted or edited since, only lost their smallest weights."
            + (
                f" Grey: as many random directions as {escape(found[0].name)} has concepts."
                if chance is not None
                else ""
            ),
        )
        st.dataframe(
            table(
                [(name, curve.how, estimate(curve.points[0].accuracy), estimate(curve.mean)) for name, curve in curves.items()],
                ["model", "how", "ANEC-5", "ANEC-avg"],
            ),
            hide_index=True, height="content", alt="ANEC-5 and ANEC-avg of each model",
        )  # fmt: skip
    if waiting:
        st.info(f"Not measured yet: {', '.join(escape(name) for name in waiting)}.", icon=":material/hourglass_empty:")
        unmeasured(found, split)
    if absent:
        st.caption("Not for " + "; ".join(absent) + ".")


def _distinct(points: "Sequence[tuple[float, Estimate]]") -> "list[tuple[float, Estimate]]":
    """Points without those beyond what the model reaches, which repeat the last one."""
    return [point for i, point in enumerate(points) if i == 0 or point[0] > points[i - 1][0]]


def groups(found: Sequence[Contender], split: str) -> None:
    """Accuracy of every group for every model."""
    by_model = {one.name: {row.group: row.accuracy for row in one.evaluation.groups} for one in found}
    names = list(dict.fromkeys(name for rows in by_model.values() for name in rows))
    if not names:
        st.info("The images of this split belong to no groups.", icon=":material/workspaces:")
        return
    chart(
        charts.rows_of_dots(
            names, {model: [rows.get(name) for name in names] for model, rows in by_model.items()},
            axis=f"accuracy on {split}",
        ),
        alt="; ".join(f"{model}: worst {next(iter(rows), '')}" for model, rows in by_model.items()),
        key="groups",
        table=table(
            [(m, g, v.value, v.low, v.high, v.n) for m, rows in by_model.items() for g, v in rows.items()],
            ["model", "group", "accuracy", "low", "high", "images"],
        ),
    )  # fmt: skip
    worst = [
        f"**{escape(one.name)}** {figure('worst_group_accuracy', one.numbers['worst_group_accuracy'])}"
        for one in found
        if "worst_group_accuracy" in one.numbers
    ]
    if worst:
        st.markdown("Worst group: " + "; ".join(worst) + ".")
    small = [
        name for name in names if next(rows[name].n for rows in by_model.values() if name in rows) < SMALLEST_GROUP
    ]
    if small:
        st.caption(
            f"Drawn but not counted as the worst, with fewer than {SMALLEST_GROUP} images: {', '.join(map(escape, small))}."
        )


def calibration(found: Sequence[Contender], split: str) -> None:
    """Whether each model is right as often as it says."""
    series = {one.name: [(b.confidence, b.accuracy) for b in reliability(one.decisions)] for one in found}
    chart(
        charts.lines(series, axis=f"right on {split}", across="confidence", diagonal=True),
        alt="; ".join(f"{one.name}: calibration error {figure('ece', one.numbers['ece'])}" for one in found),
        key="reliability",
        table=table(
            [(m, at, v.value, v.low, v.high, v.n) for m, points in series.items() for at, v in points],
            ["model", "confidence", "right", "low", "high", "images"],
        ),
        note="Below the dotted line a model is surer than it should be, above it less sure. Each point is the images of a tenth "
        "of the scale; wide intervals are few images.",
    )


def corrections(found: Sequence[Contender], dataset: str, split: str) -> None:
    """What corrections by one policy do for each model."""
    policy = st.selectbox(
        "Concepts are chosen by", list(POLICIES), key="policy", bind="query-params",
        format_func=lambda name: POLICIES[name][0], help="What each policy does is under Intervene, Many images.", width=280,
    )  # fmt: skip
    curves, absent = {}, []
    for one in found:
        curve = corrected(one, dataset, policy, TYPICAL, STEPS)
        if isinstance(curve, str):
            absent.append(f"{escape(one.name)}: {escape(curve, 200)}")
        else:
            curves[one.name] = curve
    if curves:
        chart(
            charts.curves(
                {name: curve.accuracy for name, curve in curves.items()}, axis=f"accuracy on {split}",
                across="corrected concepts per image", band=next(iter(curves)),
            ),
            alt="; ".join(f"{name}: from {percent(c.accuracy[0].value)} to {percent(c.accuracy[-1].value)}" for name, c in curves.items()),
            key="corrections",
            table=table(
                [(name, i, p.value, p.low, p.high, p.n) for name, c in curves.items() for i, p in enumerate(c.accuracy)],
                ["model", "corrected", "accuracy", "low", "high", "images"],
            ),
            note=f"Annotations answer for the expert, for up to {STEPS} concepts. The band is the 95 % interval of the first "
            "model; the others' are in the table.",
        )  # fmt: skip
    if absent:
        st.caption("Not for " + "; ".join(absent) + ".")
