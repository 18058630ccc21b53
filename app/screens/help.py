"""Help: what each method does and needs, what the words and numbers mean, and the keys."""

import streamlit as st

from app import ui
from app.glossary import METRICS, TRUST, VERDICTS, WORDS
from app.ui.form import option_rows

START, METHODS, WORDS_, NUMBERS, KEYS = "First steps", "Methods", "Words", "Numbers", "Keys"

STEPS = (
    ("data", "Bring images in", "A folder, a manifest or a zip. Read the report before anything is stored, then embed them."),
    ("concepts", "Make concepts", "From annotated images, or from phrases. Look at what lights each one up before you "
     "trust its name."),
    ("build", "Build a model", "Choose a method. Read its accuracy beside its controls."),
    ("trust", "Ask whether it can be trusted", "A verdict a concept: does it exist, is it in its place, is it used, does it "
     "leak."),
    ("explain", "See what decided", "One image: every contribution, adding up to the logit. One class: what it looks for."),
    ("attention", "Look into the encoder", "Which heads see a concept, what the decision loses without them, and from which "
     "layer on it is there."),
    ("intervene", "Change your mind about one concept", "Move it, and watch the decision follow."),
    ("edit", "Keep the change", "Prune, reweight, rename, merge. The preview shows what it costs, group by group."),
    ("fix", "Make it work in a new place", "From four labelled images a class: which concepts mislead there, masked or amplified, on "
     "a branch of its own."),
    ("export", "Take the model away", "With its edits written down."),
)  # fmt: skip
KEYBOARD = (
    ("j", "the next image", "Explain, Intervene"),
    ("k", "the image before", "Explain, Intervene"),
    ("Alt + Backspace", "reset all concepts that you moved", "Intervene"),
    ("Ctrl + Z, Ctrl + Shift + Z", "undo and redo an edit", "Edit"),
    ("Ctrl + S", "save the edit that you previewed", "Edit"),
)
READING = """
**An interval is part of the number.** *95.0 % (83.5 to 98.6, n = 40)* means that 38 of 40 images were right, and that the
true share may well be 84 %. Two models whose intervals overlap widely are not told apart by these images.

**A control is the other half.** An accuracy says how often; only its controls say why. If as many *random* directions do as
well, the concepts' names explain little. If labels that mean nothing can be learned, something leaks. If a linear probe is far
ahead, concepts cost accuracy.

**An AUROC rests on two counts**: images with the concept and images without. Ten of each is little; a remark says so.

**A contribution is not a cause in the world.** It is what a concept's score adds to this model's logit. Whether the score
means what its name says is a question for its images, its AUROC and its neighbours.

**Annotations of classes are not annotations of pictures.** If every wren is marked *striped wing*, the concept may have
learned *wren*.
"""


def first_steps() -> None:
    """The way from pictures to a corrected model."""
    from cbm.encoders import limits_of_text

    st.markdown("Pick an image, see the concepts that decided, change your mind about one of them, watch the decision change, "
                "keep the change, take the model away.")  # fmt: skip
    for number, (screen, title, body) in enumerate(STEPS, start=1):
        if ui.screen_exists(screen):
            with st.container(
                border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
            ):
                st.markdown(f":gray[{number}] &ensp; **{title}**  \n{body}")
                ui.go_to(screen, ui.title(screen))
    st.caption(f"About text-only concepts: {limits_of_text('builtin:photo')}")


def method_pages() -> None:
    """A method: idea, paper, needs and every option."""
    from cbm.methods import methods

    known = {method.name: method for method in methods()}
    if st.session_state.get("method") not in (None, *known):
        del st.session_state["method"]
    name = st.selectbox("Method", list(known), key="method", bind="query-params", width=360)
    method = known[name]
    st.subheader(ui.escape(method.title), anchor=False)
    st.markdown(ui.escape(method.summary, 600))
    st.caption(ui.escape(method.paper, 400))
    needs = [ui.title(need.value) for need in method.needs]
    st.markdown("**Needs.** " + (" ".join(f"{ui.escape(need, 300)}." for need in needs) or "Only embedded images."))
    rows = option_rows(method.config)
    st.dataframe(
        ui.table(rows, ["option", "default", "may be", "what it does"]), hide_index=True, height="content",
        alt=f"{len(rows)} options of {method.title}",
        column_config={"what it does": st.column_config.TextColumn(width="large")},
    )  # fmt: skip
    st.code(ui.command("train", name, "DATASET", "--concepts", "BANK"), language="bash")


def words() -> None:
    """The glossary, searchable."""
    text = st.text_input("Search", key="word", bind="query-params", placeholder="a word", width=320).strip().casefold()
    found = {word: told for word, told in sorted(WORDS.items()) if text in word.casefold() or text in told.casefold()}
    if not found:
        st.info("No entry has it.", icon=":material/search_off:")
    with st.grid(2, min_column_width=300, gap="medium"):
        for word, told in found.items():
            st.markdown(f"**{word}**  \n{told}")


def numbers() -> None:
    """How to read numbers, and every metric with its formula and source."""
    st.markdown(READING)
    st.subheader("Metrics", anchor=False)
    better = {"higher": "higher is better", "lower": "lower is better", "read": "to be read beside accuracy"}
    for metric in (*METRICS.values(), *TRUST.values()):
        source = f" *{metric.source}*" if metric.source else ""
        st.markdown(f"**{metric.title}** :gray[{better[metric.better]}]  \n{metric.meaning}{source}")
    st.subheader("Verdicts of concepts", anchor=False)
    for word, meaning in VERDICTS.items():
        st.markdown(f"**{ui.title(word)}**  \n{meaning}")


def keys() -> None:
    """What the keyboard does."""
    st.table(
        ui.table(KEYBOARD, ["key", "what it does", "where"]),
        hide_index=True,
        border="horizontal",
        alt="Keyboard shortcuts",
    )
    st.caption("Everything can also be reached with Tab and Enter.")


ui.header(
    "Help",
    "What the methods do, what words and numbers mean.",
    command=ui.command("methods"),
    python="from cbm.methods import methods\n\nfor method in methods():\n    print(method.title, method.summary)",
)
shown = st.segmented_control(
    "Page", [START, METHODS, WORDS_, NUMBERS, KEYS], default=START, required=True, key="show", bind="query-params",
    label_visibility="collapsed",
)  # fmt: skip
{START: first_steps, METHODS: method_pages, WORDS_: words, NUMBERS: numbers, KEYS: keys}[shown]()
