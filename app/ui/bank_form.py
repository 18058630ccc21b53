"""Forms that make a concept bank, by a job: from phrases, or from images that people annotated."""

from typing import Any, get_args

import streamlit as st

from app.datasets import DatasetRow
from app.ui.encoders import PHOTO, PHOTO_WORDS
from app.ui.pieces import callback, empty, filled
from app.ui.text import escape, plural
from app.ui.work import following, start
from cbm.errors import DataError, UsageError

TEXTS, EXAMPLES = "From phrases", "From annotated images"
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
        ways = [TEXTS, EXAMPLES] if dataset.concepts else [TEXTS]
        way = st.segmented_control(
            "Where they come from", ways, default=ways[-1], required=True, key="way", bind="query-params"
        )
        encoder = st.selectbox("Encoder", dataset.encoders, key="bank_encoder", width=260)
    if not dataset.concepts:
        st.caption("Nobody annotated the images with concepts, so that phrases are the way.")
    params: dict[str, Any] = {"dataset": dataset.name, "encoder": encoder}
    if way == EXAMPLES:
        params |= {"source": "examples", **_examples(dataset)}
    else:
        params |= {"source": "texts"}
        _phrases(dataset, encoder)
    usual = f"{dataset.name}-{'examples' if way == EXAMPLES else 'texts'}"
    name = st.text_input("Name of the bank", value=usual, key=f"bank_name_{way}", max_chars=120, width=320)
    st.button(
        "Build the concepts", type="primary", icon=":material/play_arrow:", key="build_bank", on_click=_build,
        args=({**params, "name": name}, f"bank_name_{way}"),
    )  # fmt: skip
    following(["bank"], about={"dataset": dataset.name}, key="banks")


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


def _phrases(dataset: DatasetRow, encoder: str) -> None:
    if encoder == PHOTO:
        st.info(PHOTO_WORDS, icon=":material/info:")
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
    numbers = {"per_side": "cav_per_side", "c": "cav_c", "seed": "cav_seed"} if params["source"] == "examples" else {}
    params = filled(params, name=name, **numbers)
    if not str(params["name"]).strip():
        raise UsageError("the bank needs a name", hint="a short one, such as parts")
    if params["source"] == "texts":
        params = {**params, "texts": given_phrases()}
    start("bank", params)


def given_phrases() -> list[str]:
    """The phrases of the box and of the file, once each."""
    typed = str(st.session_state.get(_TEXT) or "").splitlines()
    file = st.session_state.get(_FILE)
    both = [line.strip() for line in [*typed, *(_in_file(file.name, file.getvalue()) if file else [])]]
    phrases = list({line.casefold(): line for line in both if line and not line.startswith("#")}.values())
    if not phrases:
        raise UsageError("there is no phrase", hint="write one a line, such as striped wing, or send a file")
    if len(phrases) > MOST_PHRASES:
        raise UsageError(f"there are {len(phrases):,} phrases; the limit here is {MOST_PHRASES:,}",
                         hint="for more, use: pellucid concepts build DATASET --from texts --file FILE --name NAME")  # fmt: skip
    long = next((phrase for phrase in phrases if len(phrase) > LONGEST_PHRASE), None)
    if long:
        raise UsageError(f"the phrase {escape(long, 40)} is longer than {LONGEST_PHRASE} characters", hint="shorten it")
    return phrases


def _in_file(name: str, content: bytes) -> list[str]:
    """The phrases of a text file, of the column `concept` (else the first) of a CSV file, or of lists in JSON."""
    import csv

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name!r} is not UTF-8 text", hint="save it as UTF-8") from error
    if name.lower().endswith(".json"):
        return _in_json(name, text)
    if not name.lower().endswith(".csv"):
        return text.splitlines()
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if not rows:
        return []
    head = [cell.strip().casefold() for cell in rows[0]]
    column = head.index("concept") if "concept" in head else 0
    body = rows[1:] if "concept" in head else rows
    return [row[column] for row in body if len(row) > column]


def _in_json(name: str, text: str) -> list[str]:
    """The texts of `["a", "b"]`, or of `{"class": ["a", "b"]}`, class after class."""
    import json

    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name!r} is not JSON ({error})", hint='write a list, such as ["striped wing"]') from error
    lists = list(read.values()) if isinstance(read, dict) else [read]
    if not all(isinstance(one, list) and all(isinstance(item, str) for item in one) for one in lists):
        raise DataError(f"{name!r} has something else than lists of texts", hint='write {"wren": ["striped wing"]}')
    return [item for one in lists for item in one]
