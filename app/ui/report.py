"""A preflight report for reading: what would be stored, what is remarkable, and how classes and concepts are spread."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.ui.pieces import table
from app.ui.text import escape, plural


def show_report(report: Mapping[str, Any], *, key: str) -> None:
    """The whole report of an import: sizes, problems, classes by split, concepts."""
    sizes(report)
    problems(report, key=key)
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        st.subheader("Classes", anchor=False)
        class_balance(report, key=key)
    with right:
        st.subheader("Annotated concepts", anchor=False)
        prevalence(report, key=key)


def sizes(report: Mapping[str, Any]) -> None:
    """How many images, classes, concepts and splits."""
    splits = report["splits"]
    with st.container(horizontal=True, gap="large"):
        st.metric("Images", f"{report['images']:,}", width="content")
        st.metric("Classes", f"{len(report['classes']):,}", width="content")
        st.metric("Annotated concepts", f"{len(report['concepts']):,}", width="content")
        for name, count in splits.items():
            st.metric(escape(f"In {name}", 30), f"{count:,}", width="content")
    rule = str(report.get("split_rule", "given"))
    notes = ["Splits as given" if rule == "given" else f"Splits {rule}"]
    if report.get("exif_rotated"):
        notes.append(f"{plural(report['exif_rotated'], 'image')} turned upright by EXIF")
    modes = report.get("colour_modes", {})
    if set(modes) - {"RGB"}:
        notes.append("colour modes " + ", ".join(f"{mode} {count:,}" for mode, count in modes.items()))
    st.caption("; ".join(notes) + ".")


def problems(report: Mapping[str, Any], *, key: str) -> None:
    """Every problem with its kind and its place; a sentence when there is none."""
    found = list(report["problems"])
    if not found:
        st.success("Nothing is wrong: every file opens, no split shares an image.", icon=":material/check:")
        return
    counts = Counter((item.get("level", "error"), str(item["kind"]).replace("_", " ")) for item in found)
    errors = sum(count for (level, _), count in counts.items() if level == "error")
    told = ", ".join(f"{kind} ({count:,})" for (_, kind), count in counts.most_common())
    if errors:
        st.warning(f"{plural(errors, 'error')} among {plural(len(found), 'remark')}: {told}.", icon=":material/error:")
    else:
        st.info(f"{plural(len(found), 'remark')}, none of which stops an import: {told}.", icon=":material/info:")
    rows = [
        (item.get("level", "error"), str(item["kind"]).replace("_", " "), item["path"], item["detail"])
        for item in found
    ]
    with st.expander("All remarks", expanded=bool(errors), key=f"{key}_problems"):
        st.dataframe(
            table(rows, ["level", "kind", "where", "what"]),
            hide_index=True, lazy=False, alt=f"{plural(len(rows), 'remark')}: {told}",
            column_config={"what": st.column_config.TextColumn(width="large")},
        )  # fmt: skip


def class_balance(report: Mapping[str, Any], *, key: str) -> None:
    """Images of each class, in all and in each split."""
    counts, splits = report.get("class_counts", {}), report.get("split_counts", {})
    if not counts:
        st.caption("No class.")
        return
    most = max(1, *counts.values())
    rows = [(name, count, *(splits[split].get(name, 0) for split in splits)) for name, count in counts.items()]
    smallest = min(counts, key=lambda name: counts[name])
    st.dataframe(
        table(rows, ["class", "images", *splits]),
        hide_index=True, key=f"{key}_classes",
        column_config={
            "class": st.column_config.TextColumn(width=150),
            "images": st.column_config.ProgressColumn(min_value=0, max_value=most, format="%d", width="small"),
            **{split: st.column_config.NumberColumn(width=62) for split in splits},
        },
        alt=f"Images a class, from {counts[smallest]} of {smallest} to {most}",
    )  # fmt: skip


def prevalence(report: Mapping[str, Any], *, key: str) -> None:
    """On what share of the annotated images each concept is present, and on how many it is not known."""
    known = report.get("concept_prevalence", {})
    if not known:
        st.caption("Nobody annotated concepts here. Concepts can still come from texts.")
        return
    missing = report.get("concept_missing", {})
    rows = [(name, None if share is None else 100 * share, missing.get(name, 0)) for name, share in known.items()]
    st.dataframe(
        table(rows, ["concept", "present on", "unknown on"]),
        hide_index=True, key=f"{key}_concepts",
        column_config={
            "concept": st.column_config.TextColumn(width="medium"),
            "present on": st.column_config.ProgressColumn(
                min_value=0, max_value=100, format="%.0f %%", help="Share of the images on which it is known"
            ),
            "unknown on": st.column_config.NumberColumn(format="%d images"),
        },
        alt=f"Prevalence of {len(rows)} concepts",
    )  # fmt: skip
