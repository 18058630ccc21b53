"""A model's measured numbers: each with its interval, the count it rests on, its formula on hover, and its controls."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import charts
from app.glossary import CONTROLS, METRICS, title_of_metric
from app.models import ModelRow
from app.ui.pieces import chart, table
from app.ui.text import escape, percent

if TYPE_CHECKING:
    from probes.intervals import Estimate

SPLITS = ("val", "test")


def measured_on(row: ModelRow) -> str:
    """The split that the model's numbers are shown for: val, else test, else whichever was measured; or nothing."""
    there = [name for name, found in row.metrics.items() if isinstance(found, Mapping) and "metrics" in found]
    return next((name for name in SPLITS if name in there), there[0] if there else "")


def estimates(row: ModelRow, split: str) -> "dict[str, Estimate]":
    """The measured numbers of a split by name."""
    from probes.intervals import Estimate

    found: Mapping[str, Any] = row.metrics.get(split, {}).get("metrics", {})
    return {name: Estimate(**value) for name, value in found.items()}


def figure(name: str, value: "Estimate", *, interval: bool = True) -> str:
    """A number as people read it: a share as per cent, its interval and what it rests on."""
    share = name not in METRICS or METRICS[name].share
    shown = percent(value.value) if share else f"{value.value:.3g}"
    if not interval or value.low == value.high:
        return shown
    low, high = (f"{100 * v:.1f}" if share else f"{v:.2f}" for v in (value.low, value.high))
    if low == high:  # narrower than we write
        return f"{shown} (n = {value.n:,})"
    return f"{shown} ({low} to {high}{f', n = {value.n:,}' if share else ''})"


def summary(row: ModelRow) -> str:
    """The model's accuracy in one line of Markdown."""
    split = measured_on(row)
    found = estimates(row, split) if split else {}
    if "accuracy" not in found:
        return ":gray[not measured]"
    return f"**{figure('accuracy', found['accuracy'], interval=False)}** right on {escape(split)}"


def verdict(row: ModelRow) -> str:
    """What the controls say, in one sentence; empty when there is nothing to say."""
    found = estimates(row, measured_on(row)) if measured_on(row) else {}
    if "accuracy" not in found:
        return ""
    accuracy, told = found["accuracy"], []
    chance = found.get("random_concept_accuracy")
    if chance is not None and chance.value >= accuracy.low:
        told.append(
            f"As many random directions reach {percent(chance.value)}, within the interval: on these images the names "
            "explain little of the accuracy."
        )
    probe = found.get("linear_probe_accuracy")
    if probe is not None and probe.low > accuracy.value:
        told.append(f"Concepts cost accuracy: a linear probe reaches {percent(probe.value)}.")
    return " ".join(told)


def against_controls(row: ModelRow, *, key: str) -> None:
    """Accuracy beside its controls, as dots with intervals."""
    split = measured_on(row)
    found = estimates(row, split)
    itself = "linear_probe_accuracy" if row.method == "linear-probe" else ""
    names = [name for name in ("accuracy", *CONTROLS) if name in found and name != itself]
    if not names:
        return
    titles = ["This model", *(title_of_metric(name) for name in names[1:])]
    values = [found[name] for name in names]
    chart(
        charts.group_dots(titles, values, axis=f"accuracy on {split}, 95 % interval"),
        alt="; ".join(f"{title}: {figure('accuracy', v)}" for title, v in zip(titles, values, strict=True)),
        key=f"{key}_controls",
        table=table([(t, v.value, v.low, v.high, v.n) for t, v in zip(titles, values, strict=True)],
                    ["what", "accuracy", "low", "high", "images"]),
    )  # fmt: skip


def all_metrics(row: ModelRow) -> None:
    """Every number of every split that was measured, and why others were not."""
    for split, found in row.metrics.items():
        if not isinstance(found, Mapping) or "metrics" not in found:
            continue
        st.markdown(f"**On {escape(split)}**, {found.get('n', 0):,} images")
        with st.grid("auto", min_column_width=170, gap="small"):
            for name, value in estimates(row, split).items():
                with st.container(gap=None):
                    st.metric(
                        title_of_metric(name), figure(name, value, interval=False),
                        help=METRICS[name].help if name in METRICS else None,
                    )  # fmt: skip
                    rest = figure(name, value).partition(" (")[2].rstrip(")")
                    st.caption(rest or "a count, no interval")
        absent = [
            f"{title_of_metric(name)}: {escape(str(reason), 200)}"
            for name, reason in dict(found.get("not_computed", {})).items()
        ]
        if absent:
            st.caption("Not computed. " + "; ".join(absent) + ".")
