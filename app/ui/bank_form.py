"""Forms that make a concept bank, by a job: from phrases, words that ship, sentences, or images that people annotated."""

from typing import Any, get_args

import streamlit as st

from app.datasets import DatasetRow
from app.ui.atom_form import atom_form, given_widths
from app.ui.candidates import candidates_form, given_candidates
from app.ui.encoders import text_limits
from app.ui.pieces import callback, empty, filled
from app.ui.text import escape, plural, title
from app.ui.word_form import word_form, word_params
from app.ui.work import following, start
from cbm.errors import UsageError

TEXTS, WORDS, SENTENCES, EXAMPLES = "From phrases", "From a vocabulary", "From sentences", "From annotated images"
ATOMS = "Found without words"
SOURCES = {TEXTS: "texts", WORDS: "vocabulary", SENTENCES: "sentences", EXAMPLES: "examples", ATOMS: "sae"}
MOST_PHRASES, LONGEST_PHRASE = 5000, 300
_TEXT, _FILE = "bank_texts", "bank_file"


def bank_form(dataset: DatasetRow) -> None:
    """Encoder, source, options, name, and the button that starts the job."""
    if not dataset.encoders:
        empty(
            f"{dataset.name} is not embedded yet",
            "Concepts live in the space of an encoder.",
            screen="data",
            action="Embed the images",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        ways = [way for way in SOURCES if way != EXAMPLES or dataset.concepts]
        way = st.segmented_control(
            "Where they come from", ways, default=EXAMPLES if dataset.concepts else TEXTS, required=True, key="way",
            bind="query-params",
        )  # fmt: skip
        encoder = st.selectbox("Encoder", dataset.encoders, key="bank_encoder", width=260)
    if not dataset.concepts:
        st.caption("Nobody annotated the images with concepts, so that words are the way.")
    params: dict[str, Any] = {"dataset": dataset.name, "encoder": encoder, "source": SOURCES[way]}
    if way != EXAMPLES:
        text_limits(encoder)
    wrong = _no_words(encoder) if way in (TEXTS, WORDS, SENTENCES) else ""
    if wrong:
        st.info(escape(wrong, 300), icon=":material/block:")
    if way == EXAMPLES:
        params |= _examples(dataset)
    elif way == WORDS:
        word_form(dataset.classes, key="words")
    elif way == SENTENCES:
        from cbm.vocabulary import shipped_candidates

        wrong = wrong or candidates_form(
            dataset.classes, key="sentences", shipped=shipped_candidates(dataset.classes), every=False
        )
    else:
        params |= atom_form() if way == ATOMS else {}
        _phrases(dataset)
    usual = f"{dataset.name}-{'atoms' if way == ATOMS else SOURCES[way]}"
    name = st.text_input("Name of the bank", value=usual, key=f"bank_name_{way}", max_chars=120, width=320)
    st.button(
        "Build the concepts", type="primary", icon=":material/play_arrow:", key="build_bank", on_click=_build,
        args=({**params, "name": name}, f"bank_name_{way}"), disabled=bool(wrong), help=title(wrong) or None,
    )  # fmt: skip
    following(["bank"], about={"dataset": dataset.name}, key="banks")


def _no_words(encoder: str) -> str:
    """Why words cannot become concepts of this encoder; empty when they can."""
    from cbm.encoders import is_backbone

    if not is_backbone(encoder):
        return ""
    return f"{encoder} reads no text: its concepts come from annotated images, or are found without words."


def _examples(dataset: DatasetRow) -> dict[str, Any]:
    from cbm.cav import CavMethod

    st.caption(
        f"A vector for each of {plural(len(dataset.concepts), 'annotated concept')}: the direction that tells images with "
        "it from images without. Other images say how good it is."
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        method = st.selectbox(
            "Method", get_args(CavMethod), key="cav_method", width=190,
            help="svm: the widest margin, as in the post-hoc paper. ridge, lda, logistic: other linear classifiers. "
            "mean-difference, pattern: where images with the concept lie, fast and stable with few images.",
        )  # fmt: skip
        per_side = st.number_input(
            "Images of each side", 2, 10_000, 100, key="cav_per_side", width=170,
            help="At most so many images with the concept, and as many without, are learned from",
        )  # fmt: skip
        c = st.number_input(
            "C",
            1e-6,
            1e6,
            1.0,
            key="cav_c",
            format="%g",
            width=130,
            help="How much a wrong image costs; smaller is smoother",
        )
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="cav_seed", width=120)
    return {"method": method, "per_side": int(per_side), "c": float(c), "seed": int(seed)}


def _phrases(dataset: DatasetRow) -> None:
    with st.container(horizontal=True, gap="medium"):
        st.text_area(
            "Phrases, one a line", key=_TEXT, height=220, placeholder="striped wing\nyellow bill\nwater in the background",
            max_chars=MOST_PHRASES * 60,
        )  # fmt: skip
        with st.container(width=320):
            st.file_uploader(
                "Or a file", type=["txt", "csv", "json"], key=_FILE, max_upload_size=5,
                help="Text: one phrase a line. CSV: the column `concept`, or else the first one. JSON: a list, or a class's list each, "
                "as language models are asked for",
            )  # fmt: skip
            if dataset.concepts:
                st.button(
                    "Use the annotated names", icon=":material/format_list_bulleted:", on_click=_use_names,
                    args=(dataset.concepts,), help="Then the texts can be measured against the annotations",
                )  # fmt: skip


def _use_names(names: tuple[str, ...]) -> None:
    st.session_state[_TEXT] = "\n".join(names)


@callback
def _build(params: dict[str, Any], name: str) -> None:
    numbers = {
        "examples": {"per_side": "cav_per_side", "c": "cav_c", "seed": "cav_seed"},
        "sae": {"widths": "sae_widths", "epochs": "sae_epochs"},
    }.get(params["source"], {})
    params = filled(params, name=name, **numbers)
    if not str(params["name"]).strip():
        raise UsageError("the bank needs a name", hint="a short one, such as parts")
    if params["source"] == "texts":
        params = {**params, "texts": given_phrases()}
    elif params["source"] == "vocabulary":
        params = {**params, **word_params("words")}
    elif params["source"] == "sentences":
        params = {**params, "candidates": given_candidates("sentences")}
    elif params["source"] == "sae":
        words = given_phrases() if st.session_state.get(_TEXT) or st.session_state.get(_FILE) else None
        params = {**params, "widths": given_widths(str(params["widths"] or "")), "texts": words}
    start("bank", params)


def given_phrases() -> list[str]:
    """The phrases of the box and of the file, once each."""
    from cbm.words import read_words

    typed = str(st.session_state.get(_TEXT) or "").encode()
    file = st.session_state.get(_FILE)
    both = [*read_words("box", typed), *(read_words(file.name, file.getvalue()) if file else ())]
    phrases = list({line.casefold(): line for line in both}.values())
    if not phrases:
        raise UsageError("there is no phrase", hint="write one a line, such as striped wing, or send a file")
    if len(phrases) > MOST_PHRASES:
        raise UsageError(f"there are {len(phrases):,} phrases; the limit here is {MOST_PHRASES:,}",
                         hint="for more, use: pellucid concepts build DATASET --from texts --file FILE --name NAME")  # fmt: skip
    long = next((phrase for phrase in phrases if len(phrase) > LONGEST_PHRASE), None)
    if long:
        raise UsageError(f"the phrase {escape(long, 40)} is longer than {LONGEST_PHRASE} characters", hint="shorten it")
    return phrases
