"""Banks and models in a workspace: the value comes back, names are unique, edits follow the name."""

import pytest
import torch

from app import store
from app.models import BankRow
from app.workspace import Workspace, check
from cbm.bank import ConceptBank
from cbm.edits import DropConcept, SetWeight
from cbm.errors import StoreError, UnknownName, UsageError
from cbm.io import fingerprint
from cbm.model import ConceptModel


@pytest.fixture
def filled(ws: Workspace, animal_model: ConceptModel) -> Workspace:
    store.add_model(ws, "animals", animal_model, dataset="tiles", bank="parts", metrics={"accuracy": 0.9})
    return ws


def test_a_bank_comes_back_with_a_summary(ws: Workspace, parts: ConceptBank) -> None:
    row = store.add_bank(ws, "parts", parts, dataset="tiles")

    assert fingerprint(store.bank(ws, "parts")) == fingerprint(parts)
    assert row.summary == {"concepts": 2, "sources": {"text": 1, "annotation": 1}, "mean_auroc": 0.8, "weak": 1}
    assert store.banks(ws, encoder="test:colour") == [row]
    assert store.banks(ws, encoder="builtin:demo") == []


def test_a_name_stands_for_one_bank(ws: Workspace, parts: ConceptBank) -> None:
    store.add_bank(ws, "parts", parts)
    store.add_bank(ws, "parts", parts)

    with pytest.raises(StoreError, match="another concept bank named 'parts'"):
        store.add_bank(ws, "parts", parts.rename("water", "sea"))
    store.delete_bank(ws, "parts")
    with pytest.raises(UnknownName):
        store.bank(ws, "parts")
    assert list(ws.folder("banks").iterdir()) == []


def test_a_model_comes_back_with_its_row(filled: Workspace, animal_model: ConceptModel) -> None:
    (row,) = store.models(filled, dataset="tiles")

    assert fingerprint(store.model(filled, "animals")) == fingerprint(animal_model) == row.fingerprint
    assert (row.name, row.method, row.bank, row.encoder) == ("animals", "posthoc", "parts", "test:colour")
    assert (row.metrics, row.recipe["images"], row.edits) == ({"accuracy": 0.9}, 12, 0)
    assert store.models(filled, dataset="birds") == []


def test_a_version_is_a_number_of_edits(filled: Workspace, animal_model: ConceptModel) -> None:
    store.append(filled, "animals", [SetWeight("spots", "whale", 5.0), DropConcept("water")])

    assert store.model(filled, "animals", 0).concepts == animal_model.concepts
    assert store.model(filled, "animals", 1).head.weight[1, 1] == 5
    assert store.model(filled, "animals").concepts == ("stripes", "spots")
    assert store.model_row(filled, "animals").edits == 2
    with pytest.raises(UsageError, match="no version 3"):
        store.model(filled, "animals", 3)


def test_a_name_stands_for_one_model(filled: Workspace, animal_model: ConceptModel, other_model: ConceptModel) -> None:
    store.append(filled, "animals", [DropConcept("water")])

    store.add_model(filled, "animals", animal_model, metrics={"accuracy": 0.8})
    with pytest.raises(StoreError, match="another model named 'animals'"):
        store.add_model(filled, "animals", other_model)

    row = store.model_row(filled, "animals")
    assert (row.metrics, row.edits) == ({"accuracy": 0.8}, 1)


def test_a_renamed_model_keeps_its_edits_and_drafts(filled: Workspace) -> None:
    store.append(filled, "animals", [DropConcept("water")])
    store.save_draft(filled, "animals", "tile/001", {"spots": 2.0})

    store.rename_model(filled, "animals", "beasts")

    assert store.history(filled, "beasts").edits == (DropConcept("water"),)
    assert store.draft(filled, "beasts", "tile/001") == {"spots": 2.0}
    with pytest.raises(UnknownName, match="animals"):
        store.model(filled, "animals")


def test_a_taken_or_impossible_name_is_refused(filled: Workspace, other_model: ConceptModel) -> None:
    store.add_model(filled, "other", other_model)

    with pytest.raises(StoreError, match="another model named 'other'"):
        store.rename_model(filled, "animals", "other")
    for name in ("", " padded", "a/b", "line\nbreak", "x" * 200):
        with pytest.raises(UsageError, match="cannot be a name"):
            store.rename_model(filled, "animals", name)


def test_deleting_removes_the_file_with_its_last_name(filled: Workspace, animal_model: ConceptModel) -> None:
    store.add_model(filled, "twin", animal_model)

    store.delete_model(filled, "animals")
    torch.testing.assert_close(store.model(filled, "twin").head.weight, animal_model.head.weight)
    store.delete_model(filled, "twin")

    assert store.models(filled) == []
    assert list(filled.folder("models").iterdir()) == []


def test_metrics_of_one_split_leave_the_others(filled: Workspace) -> None:
    store.set_metrics(filled, "animals", {"accuracy": 0.5}, split="shifted")

    assert store.model_row(filled, "animals").metrics == {"accuracy": 0.9, "shifted": {"accuracy": 0.5}}


def test_an_unknown_model_is_explained_with_the_closest(filled: Workspace) -> None:
    for ask in (store.model, store.history, store.delete_model, store.base_model, store.branches):
        with pytest.raises(UnknownName) as caught:
            ask(filled, "animal")
        assert "did you mean animals" in caught.value.hint


def test_a_draft_is_replaced_and_an_empty_one_removed(filled: Workspace) -> None:
    store.save_draft(filled, "animals", "tile/001", {"spots": 2.0, "water": 0.0})
    store.save_draft(filled, "animals", "tile/001", {"spots": 3.0})
    store.save_draft(filled, "animals", "tile/002", {"water": 1.0})
    store.save_draft(filled, "animals", "tile/001", {"spots": 9.0}, owner="ada")

    assert store.draft(filled, "animals", "tile/001") == {"spots": 3.0}
    assert store.draft(filled, "animals", "tile/001", owner="ada") == {"spots": 9.0}
    store.save_draft(filled, "animals", "tile/001", {})
    assert store.drafts(filled, "animals") == {"tile/002": {"water": 1.0}}


def test_notes_belong_to_their_subject(ws: Workspace) -> None:
    first = store.add_note(ws, "image", "tiles/1", "blurred", owner="ada")
    store.add_note(ws, "concept", "tiles/1", "not an image")

    assert store.notes(ws, "image", "tiles/1") == [first]
    store.delete_note(ws, first.id)
    assert store.notes(ws, "image", "tiles/1") == []


def test_a_lost_file_is_found_by_the_check(filled: Workspace) -> None:
    assert check(filled) == []
    row = store.model_row(filled, "animals")
    (filled.folder("models") / row.fingerprint).rename(filled.settings.home / "elsewhere")

    assert check(filled) == [f"'animals' has lost its files: models/{row.fingerprint} is missing"]


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        (("text",), True),
        (("vocabulary", "sentence"), True),
        (("text", "annotation"), False),
        (("atom",), False),
        ((), False),
    ],
)
def test_a_bank_is_from_words_when_no_image_made_any_of_its_concepts(sources, told):
    row = BankRow("any", None, "builtin:photo", "f", {"sources": dict.fromkeys(sources, 1)}, 0.0)

    assert row.from_words is told
