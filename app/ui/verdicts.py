"""What was found about a model's concepts: the verdicts as a table to filter, one concept's evidence, and the figures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import charts
from app.glossary import METRICS, TRUST, VERDICTS, Metric
from app.ui.loaded import Scene
from app.ui.maps import has_maps
from app.ui.pieces import chart, go_to, table
from app.ui.selection import select, selection
from app.ui.text import escape, percent, plural, signed, title

if TYPE_CHECKING:
    import pandas as pd

Found = Mapping[str, Any]
SIGNS = {
    "doubtful name": (":material/help:", "orange"),
    "wrong place": (":material/wrong_location:", "orange"),
    "leaks": (":material/water_drop:", "orange"),
    "hardly used": (":material/remove:", "gray"),
    "unchecked": (":material/radio_button_unchecked:", "gray"),
    "holds": (":material/check:", "blue"),
}
QUESTIONS = {
    "exists": "Does it exist under its name?",
    "located": "Is it where it belongs?",
    "used": "Is it used?",
    "leaked": "Does it leak?",
}
GOOD = {"exists": "yes", "located": "yes", "used": "yes", "leaked": "no"}
HEAD = ("beyond_concept", "completeness", "comprehensiveness", "sufficiency", "relevance_mass")
COUNTS = {
    "ois",
    "concept_set_auc",
    "class_entropy",
    "passed_information",
}  # one number of the model, without an interval


def summary(found: Found) -> None:
    """How many concepts have each verdict, and what the controls say, in words."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for word, count in found["counts"].items():
            icon, colour = SIGNS[word]
            st.badge(f"{count} {word}", icon=icon, color=colour, help=VERDICTS[word])
        st.caption(
            f"of {plural(len(found['verdicts']), 'concept')} on {found['n']:,} images of {escape(found['split'])}"
        )
    for line in told(found["figures"]):
        st.markdown(line)


def told(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the figures say together, a sentence each."""
    lines = []
    accuracy, chance = figures.get("accuracy"), figures.get("random_concept_accuracy")
    if accuracy and chance:
        gap = accuracy["value"] - chance["value"]
        close = chance["value"] >= accuracy["low"]
        lines.append(
            f"**Random directions** instead of these concepts reach {percent(chance['value'])} where the model reaches "
            f"{percent(accuracy['value'])}"
            + (": the accuracy owes little to what the concepts mean." if close else f", {100 * gap:.1f} points less.")
        )
    extra = figures.get("extra_information")
    if extra:
        leaks = extra["low"] > 0
        lines.append(
            f"**All scores together** tell {signed(extra['value'])} bits of the class beyond all annotations "
            f"({signed(extra['low'])} to {signed(extra['high'])}): "
            + ("they carry more than their concepts." if leaks else "no leak past the concepts as a whole.")
        )
    return lines


def head_figures(found: Found) -> None:
    """The few numbers to know first, each with its interval and what chance would give."""
    names = [name for name in HEAD if name in found["figures"]]
    with st.grid("auto", min_column_width=150, gap="small"):
        for name in names:
            value, metric = found["figures"][name], _metric(name)
            with st.container(gap=None):
                st.metric(metric.title, _shown(name, value["value"]), help=metric.help)
                st.caption(f"{_interval(name, value)}{_by_chance(name, value)}")


def verdict_table(found: Found, key: str) -> None:
    """One line a concept, to sort and filter; a click selects the concept."""
    whole = _rows(found)
    words = list(found["counts"])
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        text = st.text_input("Name has", key="has", bind="query-params", width=200, placeholder="any text")
        chosen = st.pills(
            "Verdict", words, selection_mode="multi", key="verdict", format_func=lambda word: f"{SIGNS[word][0]} {word}"
        )
    keep = whole["concept"].str.contains((text or "").strip(), case=False, regex=False)
    if chosen:
        keep &= whole["verdict"].isin(chosen)
    shown = whole[keep]
    state = st.dataframe(
        shown, hide_index=True, key=f"verdicts_{key}", on_select="rerun", selection_mode="single-row",
        alt=f"{len(shown)} concepts with their verdicts", column_order=["concept", "verdict", *whole.columns[2:]],
        column_config={
            "concept": st.column_config.TextColumn(width="medium", pinned=True),
            "verdict": st.column_config.TextColumn(help="; ".join(f"{w}: {m}" for w, m in VERDICTS.items())),
            "exists": st.column_config.NumberColumn(
                format="%.2f", help="AUROC of the score for the annotation of that name; without annotations, the score's "
                "correlation with the name as text"),
            "on its part": st.column_config.NumberColumn(
                format="%.1f x", help="Relevance on the concept's part, as a multiple of the part's share of the area"),
            "decisions changed": st.column_config.NumberColumn(
                format="percent", help="Share of decisions that become another class without the concept"),
            "told beyond": st.column_config.NumberColumn(
                format="percent", help="Share of the class that the score tells beyond its concept"),
            "why": st.column_config.TextColumn(width="large"),
        },
    )  # fmt: skip
    picked = [shown.iloc[i]["concept"] for i in state.selection.rows if i < len(shown)]
    if picked and picked[0] != selection().concept and st.session_state.get("pellucid_verdict") != picked[0]:
        st.session_state["pellucid_verdict"] = picked[0]
        select(concept=str(picked[0]))


def evidence(scene: Scene, found: Found) -> None:
    """The four answers about the selected concept, and the ways to its images, map and weights."""
    by_name = {verdict["concept"]: verdict for verdict in found["verdicts"]}
    name = selection().concept if selection().concept in by_name else _first(found)
    verdict = by_name[name]
    icon, colour = SIGNS[verdict["verdict"]]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(escape(name), anchor=False, width="content")
            st.badge(verdict["verdict"], icon=icon, color=colour, help=VERDICTS[verdict["verdict"]])
        with st.grid(2, min_column_width=300, gap="medium"):
            for question, asked in QUESTIONS.items():
                _answer(asked, question, verdict[question])
        with st.container(horizontal=True, gap="medium"):
            label = "Its images and its map" if has_maps(scene) else "Its images"
            go_to("explain", label, icon=":material/search_insights:", concept=name)
            go_to("edit", "Rename or drop it", icon=":material/edit_note:", concept=name)


def _answer(asked: str, question: str, finding: Found) -> None:
    answer, value = finding["answer"], finding["value"]
    icon = ":material/radio_button_unchecked:" if answer == "unknown" else (
        ":material/check:" if answer == GOOD[question] else ":material/error:")  # fmt: skip
    number = "" if value is None or value["low"] == value["high"] else f" {_measured(question, value)}"
    with st.container(gap=None):
        st.markdown(f"{icon} **{asked}** {title(answer)}.{number}")
        st.caption(f"{title(escape(finding['why'], 300))}." if finding["why"] else "Nothing to say.")


def _measured(question: str, value: Mapping[str, float]) -> str:
    """The number behind an answer with its interval."""
    scale, digits, unit = (1, 2, "") if question == "exists" else (100, 1, " %")
    low, high = (f"{scale * value[end]:.{digits}f}" for end in ("low", "high"))
    return f"{scale * value['value']:.{digits}f}{unit} ({low} to {high}, n = {value['n']:,})"


def curves(found: Found) -> None:
    """How decisions fall as concepts are taken away, and rise as they come back, against random order."""
    measured = found["faithfulness"]
    counts, figures = measured["counts"], found["figures"]
    gap = figures["deletion_gap"]
    lines = {
        "taken away, most important first": measured["deletion"],
        "given back, most important first": measured["insertion"],
        "taken away at random": measured["deletion_random"],
        "given back at random": measured["insertion_random"],
    }
    st.markdown(
        f"Taking concepts away by importance costs **{percent(gap['value'])}** of the decision's probability more than at "
        f"random, on average over all numbers of concepts ({100 * gap['low']:.1f} to {100 * gap['high']:.1f}, n = {gap['n']:,})."
    )
    chart(
        charts.taken_away(
            counts, lines, axis="probability of the decision", across="concepts", controls=list(lines)[2:]
        ),
        alt=f"Deletion and insertion curves; gap to random order {percent(gap['value'])}",
        key="faithful",
        table=table(zip(counts, *lines.values(), strict=True), ["concepts", *lines]),
        note="Mean over images. A concept that is taken away has its mean training score.",
    )


def all_figures(found: Found) -> None:
    """Every figure with its interval and chance level, and why others are absent."""
    rows = []
    for name, value in found["figures"].items():
        chance = "" if value["chance"] is None else _shown(name, value["chance"])
        rows.append(
            (_metric(name).title, _shown(name, value["value"]), _interval(name, value), chance, _metric(name).meaning)
        )
    st.dataframe(
        table(rows, ["figure", "value", "95 % interval", "by chance", "what it says"]), hide_index=True, height="content",
        alt=f"{len(rows)} figures of the model", column_config={"what it says": st.column_config.TextColumn(width="large")},
    )  # fmt: skip
    if found["not_computed"]:
        absent = "; ".join(f"{_metric(n).title}: {escape(r, 200)}" for n, r in found["not_computed"].items())
        st.caption(f"Not computed. {absent}.")
    rules = found["rules"]
    st.caption(
        f"The rules. A name holds from an AUROC of {rules['auroc']} on, unless another concept is told better by "
        f"{rules['rival']}; without annotations from a correlation of {rules['agreement']} with the name's text on, among the "
        f"first {100 * rules['rank']:.0f} % of names. A place holds at {rules['odds']:g} times the odds of the area. A concept is "
        f"used from {100 * rules['moved']:g} points of probability on, and leaks from {100 * rules['beyond']:.0f} % of the class "
        f"on. P-values are under {rules['level']}, corrected for the number of concepts (Holm)."
    )


def _rows(found: Found) -> "pd.DataFrame":
    rows = []
    for verdict in found["verdicts"]:
        located = verdict["located"]
        grave = {"doubtful name": "exists", "unchecked": "exists", "wrong place": "located", "leaks": "leaked"}
        rows.append(
            (verdict["verdict"], verdict["concept"],
             _value(verdict["exists"]) if verdict["exists"]["answer"] != "unknown" else None, located.get("lift"), _value(verdict["used"]), _value(verdict["leaked"]),
             verdict[grave.get(verdict["verdict"], "used")]["why"])
        )  # fmt: skip
    order = {word: i for i, word in enumerate(VERDICTS)}
    columns = ["verdict", "concept", "exists", "on its part", "decisions changed", "told beyond", "why"]
    return table(sorted(rows, key=lambda row: order[row[0]]), columns)


def _value(finding: Found) -> float | None:
    return None if finding["value"] is None else float(finding["value"]["value"])


def _first(found: Found) -> str:
    """The concept with the gravest verdict."""
    order = {word: i for i, word in enumerate(VERDICTS)}
    return str(min(found["verdicts"], key=lambda verdict: order[verdict["verdict"]])["concept"])


def _metric(name: str) -> Metric:
    return {**METRICS, **TRUST}.get(name, Metric(title(name.replace("_", " ")), "", "", "read"))


def _shown(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if _metric(name).share else f"{value:.3g}"


def _interval(name: str, value: Mapping[str, float]) -> str:
    if name in COUNTS or value["low"] == value["high"]:
        return "no interval"
    scale, digits = (100, 1) if _metric(name).share else (1, 2)
    return f"{scale * value['low']:.{digits}f} to {scale * value['high']:.{digits}f}, n = {value['n']:,}"


def _by_chance(name: str, value: Mapping[str, float]) -> str:
    return f"; by chance {_shown(name, value['chance'])}" if value["chance"] else ""
