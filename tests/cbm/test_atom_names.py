"""Names of atoms, against the published cosines and against directions whose meaning is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cbm.atom_names import AtomName, bank_of_atoms, name_by_direction, name_by_images
from cbm.errors import DataError
from cbm.sae import Dictionary

PUBLISHED = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[1] / "reference" / "sae.npz").items()
    if name.startswith("naming/")
}
WORDS = ("striped", "crested", "spotted")


def named(*pairs: tuple[str, float]) -> AtomName:
    return AtomName(tuple(pairs))


def dictionary(h: int) -> Dictionary:
    return Dictionary(torch.eye(h, 4) + 1, torch.ones(h), torch.eye(h, 4), torch.full((4,), 0.5), "topk", 2)


def test_names_by_direction_are_the_published_ones():
    vocabulary = PUBLISHED["naming/vocabulary"]

    names = name_by_direction(PUBLISHED["naming/columns"].T, [str(i) for i in range(len(vocabulary))], vocabulary)

    assert [int(name.word) for name in names] == PUBLISHED["naming/argmax"].tolist()
    cosine = torch.tensor([name.closeness for name in names])
    assert (cosine - PUBLISHED["naming/similarity"].max(0).values).abs().max() < 1e-6


def test_correlations_are_those_of_codes_and_similarities():
    g = torch.Generator().manual_seed(1)
    x, texts, codes = torch.randn(50, 4, generator=g), torch.randn(3, 4, generator=g), torch.rand(50, 6, generator=g)

    names = name_by_images(lambda _: codes, x, WORDS, texts)

    similar = x @ torch.nn.functional.normalize(texts, dim=1).T
    wanted = torch.corrcoef(torch.cat([codes, similar], 1).T)[:6, 6:]
    assert [name.closeness for name in names] == pytest.approx(wanted.max(1).values.tolist(), abs=1e-5)
    assert [name.word for name in names] == [WORDS[i] for i in wanted.argmax(1).tolist()]


def test_a_word_that_suits_every_image_names_no_atom_by_images():
    """All images lie in the direction of the first word; the atom is used by those that show the second."""
    x = torch.tensor([[9.0, 1, 0], [9, 0, 1], [9, 1, 1], [9.3, 0, 0]])
    texts = torch.tensor([[1.0, 0, 0], [0.9, 0.4, 0], [0, 0, 1.0]])
    atoms = torch.tensor([[1.0, 0.3, 0]])

    assert name_by_direction(atoms, WORDS, texts)[0].word != "spotted"
    assert name_by_images(lambda rows: rows[:, 1:2], x, WORDS, texts)[0].word == "crested"


def test_an_atom_that_every_image_uses_alike_has_a_name_without_weight():
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))

    assert name_by_images(lambda rows: torch.ones(len(rows), 1), x, WORDS, torch.eye(3, 4))[0].closeness == 0


def test_the_margin_is_to_the_next_word():
    name = named(("striped", 0.5), ("crested", 0.3), ("spotted", 0.1))

    assert name.margin == pytest.approx(0.2)
    assert name.note == ""


def test_a_name_that_is_hardly_closer_than_the_next_says_so():
    close = named(("striped", 0.5), ("crested", 0.49))

    assert close.note == "hardly closer to “striped” than to “crested”: cosine 0.50 and 0.49"


def test_atoms_with_one_word_are_numbered_and_the_closest_has_the_word_alone():
    names = [named(("striped", 0.2)), named(("striped", 0.9)), named(("crested", 0.5)), named(("striped", 0.4))]

    assert bank_of_atoms(dictionary(4), names).names == ("striped #3", "striped", "crested", "striped #2")


def test_a_word_that_looks_like_a_number_does_not_get_in_the_way():
    names = [named(("day", 0.9)), named(("day", 0.8)), named(("day #2", 0.7))]

    assert bank_of_atoms(dictionary(3), names).names == ("day", "day #3", "day #2")


def test_the_bank_reads_what_the_dictionary_reads():
    atoms = dictionary(2)
    bank = bank_of_atoms(atoms, [named(("striped", 0.2)), named(("crested", 0.9))], encoder_id="e", contract="c")
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))

    assert torch.allclose(x @ bank.vectors.T + bank.intercepts, atoms.read(x), atol=1e-5)
    assert {origin.source for origin in bank.origin} == {"atom"}
    assert [origin.words for origin in bank.origin] == [(("striped", 0.2),), (("crested", 0.9),)]
    assert (bank.encoder_id, bank.contract) == ("e", "c")


def test_a_single_word_names_everything():
    assert name_by_direction(torch.eye(2), ["bird"], torch.ones(1, 2))[1].word == "bird"


def test_without_words_there_are_no_names():
    with pytest.raises(DataError, match="no word"):
        name_by_direction(torch.eye(2), [], torch.zeros(0, 2))
