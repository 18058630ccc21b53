"""What all heads look at and matter for, over many images: measured by a job, shown as grids, tables and curves."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import charts
from app.probing import heads_params, probed
from app.ui.gallery import concept_choice
from app.ui.loaded import Scene
from app.ui.pieces import beside, chart, table
from app.ui.text import escape, percent, plural, signed
from app.ui.work import following, start

DECISION, CONCEPT = "The decision", "One concept"
TITLES = {
    "entropy": "Entropy", "distance": "Mean distance", "locality": "Locality", "special": "Share to the class token",
    "itself": "Share to itself", "neighbours": "Share to neighbours", "class_to_patches": "Class token to patches",
    "sinks": "Share to sinks", "variability": "Variability",
}  # fmt: skip
GATES = {"steps": 300, "seeds": 3}


def head_measures(scene: Scene) -> None:
    """Choose what heads may matter for; then what was measured, or the button that measures it."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        about = st.segmented_control(
            "Importance for", [DECISION, CONCEPT], default=DECISION, required=True, key="matters", bind="query-params"
        )
        concept = ""
        if about == CONCEPT:
            with st.container(width=340):
                concept = concept_choice(scene, "Concept")
    quick = heads_params(scene.row.name, scene.history.branch, concept=concept)
    full = heads_params(scene.row.name, scene.history.branch, concept=concept, **GATES)
    found = probed(scene.ws, "heads", full) or probed(scene.ws, "heads", quick)
    _jobs(scene, quick, full, found)
    if found is None:
        return
    _grids(found, concept)
    _table(found)
    if "gates" in found:
        st.divider()
        _gates(found)
        _curve(found)


def _jobs(scene: Scene, quick: Mapping[str, Any], full: Mapping[str, Any], found: Mapping[str, Any] | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if found is None:
            st.button(
                "Measure the heads", type="primary", icon=":material/play_arrow:", key="measure_heads", on_click=start,
                args=("heads", quick), help="Statistics, ablation of every head and gradients, on 96 test images",
            )  # fmt: skip
        if found is None or "gates" not in found:
            st.button(
                "Also learn which can go", icon=":material/content_cut:", key="learn_gates", on_click=start,
                args=("heads", full), help="Noisy gates (VTrans) from 3 seeds, and the pruning curve; some minutes",
            )  # fmt: skip
    if found is None:
        st.caption("Nothing is measured yet. Results are kept; the same question is never computed twice.")
    following(["heads"], about={"model": scene.row.name}, key="heads_jobs")


def _grids(found: Mapping[str, Any], concept: str) -> None:
    from probes.head_statistics import MEANINGS

    left, right = beside(1, 1, narrowest=280)
    with left:
        names = [name for name in TITLES if name in found["statistics"]]
        name = st.selectbox(
            "What heads look at", names, key="statistic", bind="query-params", format_func=TITLES.__getitem__
        )
        values = [[cell["value"] for cell in row] for row in found["statistics"][name]]
        _grid(
            values,
            TITLES[name],
            f"{MEANINGS[name]} Looking everywhere alike gives {found['uniform'].get(name, 0):.3g}.",
            "look",
        )
    with right:
        kinds = _importances(found, concept)
        kind = st.selectbox("What heads matter for", list(kinds), key="importance", bind="query-params")
        values, told = kinds[kind]
        _grid(values, kind, told, "matter")


def _importances(found: Mapping[str, Any], concept: str) -> dict[str, tuple[list[list[float]], str]]:
    """Importances of all heads with what each means, by name."""
    instead = "its mean" if found["replacement"] == "mean" else "nothing"
    kinds = {
        "Ablation": (
            [[cell["value"] for cell in row] for row in found["ablation"]],
            f"How far the answer moves, in nats, when the head gives {instead} instead; mean over {found['images']} images.",
        ),
        "Gradient": (
            found["michel"],
            "How sensitive the answer is to the head's gate (Michel et al. 2019)."
            + (" **The target is saturated: these numbers say nothing.**" if found["saturated"] else ""),
        ),
    }
    if found.get("effects"):
        told = f"How much what the head adds to {escape(concept)} differs between images, in standard deviations of its score."
        kinds["Direct effect"] = (found["effects"], told)
    if "gates" in found:
        seeds = found["gates"]["seeds"]
        kinds["Gates"] = (
            found["gates"]["importance"],
            f"Signal over noise of the learned gates (VTrans), mean of {seeds} seeds.",
        )
    return kinds


def _grid(values: list[list[float]], title: str, note: str, key: str) -> None:
    names = {f"layer {b + 1}, head {h + 1}": value for b, row in enumerate(values) for h, value in enumerate(row)}
    top = max(names, key=lambda name: names[name])
    small = max(abs(value) for value in names.values()) < 0.1
    chart(
        charts.head_values(values, title=title, shown=".2~g" if small else ".2f"),
        alt=f"{title} of {len(names)} heads; most: {top}", key=f"{key}_grid", table=table(names.items(), ["head", title]),
        note=note,
    )  # fmt: skip


def _table(found: Mapping[str, Any]) -> None:
    """One row a head, all numbers."""
    rows = []
    for b, line in enumerate(found["ablation"]):
        for h, cell in enumerate(line):
            concept, by = found["moved"][b][h]
            statistics = [_interval(found["statistics"][name][b][h]) for name in ("entropy", "locality", "variability")]
            kept = [percent(found["gates"]["kept"][-1][b][h])] if "gates" in found else []
            moved = f"{concept} by {by:.2f} sd" if concept else ""
            rows.append([f"{b + 1}.{h + 1}", _interval(cell), found["accuracy"][b][h], moved, *statistics, *kept])
    columns = ["head", "ablation", "accuracy without", "moves most", "entropy", "locality", "variability",
               *(["kept by"] if "gates" in found else [])]  # fmt: skip
    with st.expander(f"All {len(rows)} heads", icon=":material/table:"):
        st.dataframe(
            table(rows, columns), hide_index=True, height=420, alt=f"Numbers of {len(rows)} heads",
            column_config={"accuracy without": st.column_config.NumberColumn(format="%.3f")},
        )  # fmt: skip
        st.caption(
            f"In brackets 95 % intervals from resampling {plural(found['images'], 'image')}; with all heads, the accuracy on them "
            f"is {percent(found['whole'])}."
        )


def _interval(cell: Mapping[str, float]) -> str:
    return f"{cell['value']:.3g} ({cell['low']:.2g} to {cell['high']:.2g})"


def _gates(found: Mapping[str, Any]) -> None:
    """Which heads can go at each beta, and what the model is then."""
    gates, heads = found["gates"], sum(len(row) for row in found["ablation"])
    last = gates["without"][-1]
    kept = [sum(share > 0.5 for row in at for share in row) for at in gates["kept"]]
    st.markdown(
        f"**{heads - kept[-1]} of {heads} heads can go**: with the {kept[-1]} that most of {gates['seeds']} runs keep, "
        f"{percent(last['after']['value'])} of {last['after']['n']} images are right (all heads: "
        f"{percent(last['before']['value'])}), and {percent(last['same']['value'])} keep their class."
    )
    columns = [
        "beta",
        "heads kept",
        "overlap with ablation",
        "by chance",
        "accuracy",
        "95 % interval",
        "cosine",
        "moves most",
    ]
    rows = []
    for i, beta in enumerate(gates["betas"]):
        left, after = gates["without"][i], gates["without"][i]["after"]
        concept, by = max(left["concepts"].items(), key=lambda pair: pair[1], default=("", 0.0))
        interval = f"{percent(after['low'])} to {percent(after['high'])}"
        overlap, chance = percent(gates["overlap"][i]), percent(kept[i] / heads)
        moved = f"{concept} by {by:.2f} sd" if concept else ""
        rows.append(
            [f"{beta:g}", kept[i], overlap, chance, percent(after["value"]), interval, f"{left['cosine']:.3f}", moved]
        )
    st.dataframe(
        table(rows, columns), hide_index=True, alt="What is kept at every beta, and what the model is then worth"
    )
    pairs = "; ".join(f"{a} and {b} {signed(value)}" for a, b, value in found["agreement"]["spearman"])
    st.caption(
        f"Beta is the price of a nat through a gate. How orders of heads agree, Spearman: {pairs}; Kendall's W of all three "
        f"{found['agreement']['kendall_w']:.2f}. “Moves most”: root mean square change of a score in its standard deviations."
    )


def _curve(found: Mapping[str, Any]) -> None:
    curve = found["curve"]
    areas = ", ".join(f"{name} {area:.3f}" for name, area in curve["area"].items())
    chart(
        charts.pruning(
            curve["removed"], curve["cosine"], curve["band"], band_of="random", axis="cosine with the whole embedding"
        ),
        alt=f"Areas under the pruning curves: {areas}", key="pruning",
        table=table(
            ((name, n, c, a) for name in curve["cosine"]
             for n, c, a in zip(curve["removed"], curve["cosine"][name], curve["accuracy"][name], strict=True)),
            ["order", "heads closed", "cosine", "accuracy"],
        ),
        note=f"On {curve['images']} images; the band holds 90 % of 20 random orders. Mean heights: {areas}.",
    )  # fmt: skip
