"""The screen Concepts on a bank whose vectors are the four directions of the embedding."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from shore import CONCEPTS, ShoreEncoder
from streamlit.testing.v1 import AppTest

from app import activations, banks, jobs, store
from app.picking import picked_bank
from app.ui.bank_view import chance
from app.ui.text import percent
from app.workspace import Workspace
from cbm.bank import ConceptBank, Origin, Quality
from cbm.errors import DataError, UnknownName, UsageError

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def directions() -> ConceptBank:
    """The four directions; the first is measured, the second is weak."""
    return ConceptBank(
        names=CONCEPTS,
        vectors=torch.eye(4),
        intercepts=torch.zeros(4),
        origin=(Origin("text", "a photo of {}"), *[Origin("annotation", "svm")] * 3),
        quality=(Quality(auroc=0.93, accuracy=0.9, p_value=1e-5, positives=12, negatives=30),
                 Quality(auroc=0.5, p_value=0.4, positives=3, negatives=9, note="only 3 positive images"),
                 Quality(), Quality()),
        encoder_id=ShoreEncoder.id,
        contract=ShoreEncoder.contract,
    )  # fmt: skip


@pytest.fixture
def banked(shore: Workspace) -> Workspace:
    """The birds with the bank "parts"."""
    store.add_bank(shore, "parts", directions(), dataset="shore")
    return shore


def test_without_a_bank_the_screen_offers_to_build_one(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("concepts", dataset="shore")

    assert not page.exception
    assert "There is no concept bank yet" in words(page)
    page.text_area(key="bank_texts").set_value("striped wing\n\nyellow bill\nSTRIPED WING").run()
    page.button(key="build_bank").click().run()
    (job,) = jobs.jobs(shore)
    assert job.params["texts"] == ["STRIPED WING", "yellow bill"]
    assert (job.kind, job.params["source"], job.params["encoder"]) == ("bank", "texts", "test:shore")


def test_no_phrase_is_an_error_in_words_and_no_job(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("concepts", dataset="shore")
    page.button(key="build_bank").click().run()

    assert "there is no phrase" in words(page)
    assert jobs.jobs(shore) == []


def test_the_chosen_concept_shows_its_quality_and_its_images(
    open_screen: Open, banked: Workspace, words: Words
) -> None:
    page = open_screen("concepts", dataset="shore", bank="parts", concept="white wing")

    assert not page.exception
    assert "AUROC **0.93** on 12 images with it and 30 without, 90.0 % right, p < 0.001" in words(page)
    table = page.dataframe[0].value
    assert list(table["concept"]) == list(CONCEPTS)
    assert table.loc[1, "remark"] == "only 3 positive images"


def test_weak_concepts_can_be_listed_alone(open_screen: Open, banked: Workspace) -> None:
    page = open_screen("concepts", dataset="shore", bank="parts", weak="true")

    assert list(page.dataframe[0].value["concept"]) == ["small"]


def test_a_concept_gets_another_name(open_screen: Open, banked: Workspace) -> None:
    page = open_screen("concepts", dataset="shore", bank="parts", concept="water")
    page.text_input(key="rename_water").set_value("sea").run()
    page.button(key="rename").click().run()

    assert not page.exception
    assert store.bank(banked, "parts").names == ("white wing", "small", "black wing", "sea")
    assert len(list(banked.folder("banks").iterdir())) == 1


def test_a_taken_name_is_refused_and_changes_nothing(banked: Workspace) -> None:
    with pytest.raises(DataError, match="there twice"):
        banks.rename_concept(banked, "parts", "water", "small")

    assert store.bank(banked, "parts").names == CONCEPTS


def test_the_map_is_drawn(open_screen: Open, banked: Workspace) -> None:
    page = open_screen("concepts", dataset="shore", bank="parts", show="Map")

    assert not page.exception
    assert len(page.get("plotly_chart")) == 3


def test_scores_know_which_images_show_a_concept(banked: Workspace) -> None:
    data = store.training_set(banked, "shore", "test:shore")

    values = activations.score(directions(), data, 0)

    gulls = {i for i, label in enumerate(data.labels.tolist()) if data.classes[label] == "gull"}
    assert set(activations.examples(values, "highest", len(gulls)).tolist()) == gulls
    assert activations.class_means(values, data)[0][0] == "gull"
    assert not set(activations.examples(values, "lowest", 5).tolist()) & gulls


def test_four_orthogonal_vectors_have_no_neighbour_and_two_thirds_of_their_variance_in_a_plane() -> None:
    places, share = activations.flat(directions())

    assert share == pytest.approx(2 / 3, abs=1e-6)  # three equal components span four unit vectors' differences
    assert places.shape == (4, 2)
    assert [cosine for _, cosine in activations.nearest(directions())] == [0.0] * 4


def test_small_p_values_are_not_spelled_out() -> None:
    assert [chance(None), chance(1e-9), chance(0.03)] == ["", "< 0.001", "0.03"]


@pytest.mark.parametrize(
    ("name", "content", "phrases"),
    [
        ("words.txt", "striped wing\nyellow bill", ["striped wing", "yellow bill"]),
        ("words.csv", "group,concept\nwing,striped wing\nbill,yellow bill", ["striped wing", "yellow bill"]),
        ("words.csv", "striped wing,x\nyellow bill,y", ["striped wing", "yellow bill"]),
        ("words.json", '{"wren": ["striped wing"], "gull": ["yellow bill"]}', ["striped wing", "yellow bill"]),
    ],
)
def test_phrases_come_from_files_of_three_kinds(
    open_screen: Open, shore: Workspace, name: str, content: str, phrases: list[str]
) -> None:
    page = open_screen("concepts", dataset="shore")
    page.file_uploader(key="bank_file").upload(name, content.encode()).run()
    page.button(key="build_bank").click().run()

    assert not page.exception
    assert jobs.jobs(shore)[0].params["texts"] == phrases


@pytest.mark.parametrize("content", [b"{", b'{"a": 3}', b'["a", 3]', b"\xff\xfe\xff"])
def test_a_file_that_holds_no_phrases_is_refused_in_words(
    open_screen: Open, shore: Workspace, words: Words, content: bytes
) -> None:
    page = open_screen("concepts", dataset="shore")
    page.file_uploader(key="bank_file").upload("words.json", content).run()
    page.button(key="build_bank").click().run()

    assert not page.exception
    assert "words.json" in words(page).replace("\\", "")
    assert jobs.jobs(shore) == []


def test_annotations_of_classes_are_told_from_annotations_of_images(banked: Workspace) -> None:
    data = store.training_set(banked, "shore", "test:shore")
    gull = (data.labels == data.classes.index("gull")).float()
    odd = torch.arange(len(data)).remainder(2).float()
    labelled = replace(data, concepts=("white", "odd"), concept_labels=torch.stack([gull, odd], dim=1))

    assert activations.same_within_classes(labelled, "white")
    assert not activations.same_within_classes(labelled, "odd")
    assert not activations.same_within_classes(labelled, "unheard of")


def test_pictures_are_picked_in_the_gallery_and_become_a_concept(
    open_screen: Open, banked: Workspace, work: Callable[[], None]
) -> None:
    page = open_screen("data", dataset="shore", pick="true")
    shown = [(image.id, image.class_) for image in store.query_images(banked, "shore", per_page=24)[0]]
    assert page.button(key="pick_learn").disabled
    for id, class_ in shown[:8]:
        side = "with" if class_ == "gull" else "without"
        page.button_group(key=f"pick|shore|{id}").set_value(side).run()
    page.text_input(key="pick_concept").set_value("gullish").run()
    page.selectbox(key="pick_into").set_value("parts").run()
    page.button(key="pick_learn").click().run()
    work()

    assert not page.exception
    (job,) = jobs.jobs(banked)
    assert job.state == "succeeded", job.error
    bank = store.bank(banked, "parts")
    assert bank.names == (*CONCEPTS, "gullish")
    assert bank.origin[-1].detail.startswith("picked by hand")
    assert bank.vectors[-1][0] > 0 > bank.vectors[-1][1]  # towards gulls, away from wrens
    assert store.bank_row(banked, "parts").summary["concepts"] == 5


def test_a_picture_cannot_be_picked_for_both_sides(banked: Workspace) -> None:
    data = store.training_set(banked, "shore", "test:shore")

    with pytest.raises(UsageError, match="with 'x' and without it"):
        picked_bank(data, "x", data.ids[:2], data.ids[1:3])
    with pytest.raises(UnknownName, match="embedded image"):
        picked_bank(data, "x", ["nowhere"], data.ids[1:3])


@pytest.fixture
def atoms(shore: Workspace) -> Workspace:
    """The birds with the bank "atoms": two directions, which an image has when they exceed a half."""
    words = ((("white wing", 0.8), ("pale", 0.75)), (("white wing", 0.6), ("small", 0.5)))
    bank = replace(
        directions().select(CONCEPTS[:2]).rename("small", "white wing #2"),
        origin=tuple(Origin("atom", "batchtopk dictionary", guesses, 0.5) for guesses in words),
    )
    store.add_bank(shore, "atoms", bank, dataset="shore")
    return shore


def test_an_atom_says_how_many_images_have_it(open_screen: Open, atoms: Workspace, words: Words) -> None:
    data = store.training_set(atoms, "shore", "test:shore")
    share = float((data.x[:, 0] > 0.5).double().mean())

    page = open_screen("concepts", dataset="shore", bank="atoms", show="Concepts")

    assert not page.exception
    assert f"{percent(share)} of the images have it" in words(page)
    shown = page.dataframe[0].value
    assert shown["used by"].tolist()[0] == pytest.approx(share)
    assert shown["or"].tolist() == ["pale", "small"]
    assert shown["margin"].tolist() == pytest.approx([0.05, 0.1])


def test_an_atom_is_renamed_by_choosing_a_word(open_screen: Open, atoms: Workspace) -> None:
    page = open_screen("concepts", dataset="shore", bank="atoms", concept="white wing #2", show="Concepts")
    page.button_group(key="called_atoms_white wing #2").set_value("small").run()

    assert not page.exception
    bank = store.bank(atoms, "atoms")
    assert bank.names == ("white wing", "small")
    assert bank.origin[1].detail == "batchtopk dictionary; named by hand “small”"
    assert bank.origin[1].words[0] == ("white wing", 0.6)


def test_the_use_of_the_atoms_is_drawn(open_screen: Open, atoms: Workspace, words: Words) -> None:
    page = open_screen("concepts", dataset="shore", bank="atoms", show="Use of the atoms")

    assert not page.exception
    assert "used by few images" in words(page)


def test_middle_images_of_an_atom_are_among_those_that_have_it() -> None:
    values = torch.tensor([0.0] * 90 + [5, 4, 3, 2, 1, 1, 2, 3, 4, 6.0])

    assert sorted(values[activations.examples(values, "middle", 2, sparse=True).tolist()].tolist()) == [3, 3]
    assert values[activations.examples(values, "middle", 2).tolist()].sum() == 0


def test_an_autoencoder_is_asked_for_with_its_widths(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("concepts", dataset="shore", way="Found without words")
    page.text_input(key="sae_widths").set_value("4, 8").run()
    page.button(key="build_bank").click().run()

    assert not page.exception
    (job,) = jobs.jobs(shore)
    assert (job.params["source"], job.params["widths"], job.params["texts"]) == ("sae", [4, 8], None)
