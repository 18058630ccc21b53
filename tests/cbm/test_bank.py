from dataclasses import replace

import pytest
import torch

from cbm.bank import ConceptBank, Origin, Quality, merge, near_duplicates
from cbm.errors import DataError, UnknownName


def bank(names, vectors=None, **fields):
    k = len(names)
    vectors = torch.eye(k, 4) if vectors is None else torch.tensor(vectors)
    parts = {
        "origin": tuple(Origin("text", name) for name in names),
        "quality": tuple(Quality(auroc=0.5 + i / 10) for i in range(k)),
        "encoder_id": "e",
        "contract": "c",
    }
    return ConceptBank(tuple(names), vectors, torch.arange(k).float(), **(parts | fields))


def test_selecting_takes_everything_of_a_concept_along_in_the_order_asked():
    whole = bank(["a", "b", "c"], groups={"a": "first", "c": "third"})

    chosen = whole.select(["c", "a"])

    assert chosen.names == ("c", "a")
    assert chosen.intercepts.tolist() == [2.0, 0.0]
    assert chosen.vectors.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert [quality.auroc for quality in chosen.quality] == [0.7, 0.5]
    assert [origin.detail for origin in chosen.origin] == ["c", "a"]
    assert chosen.groups == {"a": "first", "c": "third"}


def test_a_misspelt_concept_is_answered_with_the_close_one():
    with pytest.raises(UnknownName) as caught:
        bank(["striped wing", "yellow bill"]).select(["stripped wing"])

    assert "striped wing" in caught.value.hint


def test_renaming_keeps_the_group_and_the_vector():
    renamed = bank(["a", "b"], groups={"a": "first"}).rename("a", "alpha")

    assert renamed.names == ("alpha", "b")
    assert renamed.groups == {"alpha": "first"}
    assert renamed.vectors[0].tolist() == [1, 0, 0, 0]


def test_renaming_to_a_name_that_is_taken_is_refused():
    with pytest.raises(DataError, match="'b' is there twice"):
        bank(["a", "b"]).rename("a", "b")


def test_merging_keeps_the_first_bank_where_both_have_a_concept():
    first = bank(["a", "b"], groups={"b": "mine"})
    second = bank(["b", "c"], vectors=[[9.0, 0, 0, 0], [0, 0, 0, 5.0]], groups={"b": "theirs", "c": "theirs"})

    both = merge(first, second)

    assert both.names == ("a", "b", "c")
    assert both.vectors[1].tolist() == [0, 1, 0, 0]
    assert both.vectors[2].tolist() == [0, 0, 0, 5]
    assert both.groups == {"b": "mine", "c": "theirs"}


def test_banks_of_different_encoders_do_not_merge():
    with pytest.raises(DataError, match="cannot merge a bank for e with one for other"):
        merge(bank(["a"]), bank(["b"], encoder_id="other", contract="other"))


def test_near_duplicates_are_pairs_by_cosine_with_the_closest_first():
    close = bank(["a", "b", "c"], vectors=[[1.0, 0, 0, 0], [1.0, 0.2, 0, 0], [0, 3.0, 0, 0]])

    pairs = near_duplicates(close, threshold=0.19)

    assert [(first, second) for first, second, _ in pairs] == [("a", "b"), ("b", "c")]
    assert pairs[0][2] == pytest.approx(1 / 1.04**0.5)  # both vectors by hand
    assert pairs[1][2] == pytest.approx(0.2 / 1.04**0.5)


@pytest.mark.parametrize("bad", [[0.0, 0, 0, 0], [float("nan"), 0, 0, 1], [float("inf"), 0, 0, 1]])
def test_a_vector_without_direction_is_refused_by_name(bad):
    with pytest.raises(DataError, match="'b' is zero or not finite"):
        bank(["a", "b"], vectors=[[1.0, 0, 0, 0], bad])


@pytest.mark.parametrize(("names", "said"), [(["a", " "], "empty name"), (["a", "a"], "'a' is there twice")])
def test_names_must_tell_concepts_apart(names, said):
    with pytest.raises(DataError, match=said):
        bank(names)


def test_every_concept_needs_an_origin():
    whole = bank(["a", "b"])

    with pytest.raises(DataError, match="one vector, intercept, origin and quality"):
        replace(whole, origin=whole.origin[:1])
