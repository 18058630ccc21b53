"""A case in a person's hands: their own decision, how sure they are, a note; and the log of all that they did."""

import streamlit as st

from app.casebook import RESET, SET, SURE, VERDICT, Entry, casebook, clock, record, to_csv
from app.ui.loaded import Scene
from app.ui.pieces import announce, callback, table
from app.ui.text import plural
from cbm.bottleneck import clamp_of

LIKE_MODEL = "As the model decides"
LATEST = 200  # entries shown; the file has all


def moved(scene: Scene, image: str, before: dict[str, float], after: dict[str, float]) -> None:
    """Put the concepts that were set or given back into the log, with what the model decides then."""
    at = scene.data.ids.index(image)
    known = {name: value for name, value in after.items() if name in scene.model.concepts}
    decision, probability = _decided(scene, at, known)
    entries = []
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) == after.get(name) or name not in scene.model.concepts:
            continue
        own = round(float(scene.outcome.scores[at, scene.model.concept(name)]), 4)
        entries.append(
            Entry(
                image=image, what=SET if name in after else RESET, branch=scene.history.branch,
                version=scene.history.version, concept=name, before=before.get(name, own), after=after.get(name, own),
                decision=decision, probability=probability,
            )
        )  # fmt: skip
    record(scene.ws, scene.row.name, entries)


def your_case(scene: Scene, image: str, draft: dict[str, float]) -> None:
    """Fields for the person's own decision; one press keeps them in the log."""
    key = f"{scene.row.name}|{image}"
    with st.container(border=True, gap="small"):
        st.markdown(
            "**Your decision on this case**", help="Kept in the log with the time; J and K go on to other cases"
        )
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            st.selectbox("It is", [LIKE_MODEL, *scene.model.classes], key=f"verdict|{key}", width=220)
            st.segmented_control("You are", SURE, key=f"sure|{key}", width="content")
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            st.text_input("Note", key=f"note|{key}", placeholder="What you saw", max_chars=2000, width="stretch")
            st.button("Keep in the log", icon=":material/done:", on_click=_keep, args=(scene, image, draft), key="log")


@callback
def _keep(scene: Scene, image: str, draft: dict[str, float]) -> None:
    key = f"{scene.row.name}|{image}"
    decision, probability = _decided(scene, scene.data.ids.index(image), draft)
    chosen = str(st.session_state.get(f"verdict|{key}", LIKE_MODEL))
    entry = Entry(
        image=image, what=VERDICT, branch=scene.history.branch, version=scene.history.version, decision=decision,
        probability=probability, verdict=decision if chosen == LIKE_MODEL else chosen,
        confidence=st.session_state.get(f"sure|{key}") or "", text=str(st.session_state.get(f"note|{key}", "")),
    )  # fmt: skip
    record(scene.ws, scene.row.name, [entry])
    st.session_state[f"note|{key}"] = ""
    announce("Kept in the log.")


def case_log(scene: Scene) -> None:
    """What was done on all cases of this model, the latest first, and the way to take it along."""
    entries = casebook(scene.ws, scene.row.name)
    images = len({entry.image for entry in entries})
    label = f"Log: {plural(len(entries), 'entry', 'entries')} on {plural(images, 'case')}" if entries else "Log"
    with st.expander(label, icon=":material/history:", key="case_log"):
        if not entries:
            st.caption("Every score that you set or give back, and every decision that you keep, is listed here.")
            return
        shown = list(reversed(entries))[:LATEST]
        rows = [
            (clock(e), e.image, e.what, e.concept or e.verdict, e.before, e.after, e.decision, e.confidence, e.text)
            for e in shown
        ]
        columns = ["time (UTC)", "image", "what", "concept or class", "from", "to", "model decides", "you are", "note"]
        st.dataframe(
            table(rows, columns), hide_index=True, width="stretch", alt=f"The latest {len(shown)} entries of the log"
        )
        st.download_button(
            "Download as CSV", to_csv(entries), file_name=f"{scene.row.name}-cases.csv", mime="text/csv",
            icon=":material/download:", on_click="ignore", key="download_log",
        )  # fmt: skip


def _decided(scene: Scene, at: int, scores: dict[str, float]) -> tuple[str, float]:
    """What the model decides with these scores set, and how probable it is."""
    clamp = clamp_of(scene.model.concepts, scores) if scores else None
    probabilities = scene.model.probabilities(scene.data.x[at][None], clamp)[0]
    best = int(probabilities.argmax())
    return scene.model.classes[best], round(float(probabilities[best]), 6)
