"""Discover-then-name: what is planted is found and named, without labels of either kind having a say."""

from copy import copy
from dataclasses import replace

import pytest
import torch

from cbm.atoms import codes_of, codes_of_bank, live_atoms, unnamed_atoms, use_of
from cbm.bottleneck import ReluBottleneck
from cbm.edits import DropConcept, MergeConcepts, RenameConcept, ScaleScore, SetScore, apply
from cbm.errors import BundleError, DataError, ModelError
from cbm.io import fingerprint, load, load_bank, save, save_bank
from cbm.methods import fit
from cbm.methods.dncbm import METHOD
from cbm.sae_training import SaeConfig, train_sae

OPTIONS = {"nec": 2, "width": 16, "k": 3, "epochs": 150, "rate": 3e-3}


@pytest.fixture(scope="module")
def world(planted, word_encoder):
    """The planted world, whose directions the encoder's words have, far from the images as texts are."""

    class Reader(type(word_encoder)):
        def encode_texts(self, texts: list[str]) -> torch.Tensor:
            known = dict(zip(planted.bank.names, planted.bank.vectors, strict=True))
            rows = [next((v for name, v in known.items() if name in text), torch.zeros(24)) for text in texts]
            return torch.nn.functional.normalize(torch.stack(rows) + 0.5, dim=1)

    return replace(planted.training, encoder=Reader())


@pytest.fixture(scope="module", params=["images", "direction"])
def model(world, request):
    return fit("dncbm", world, **OPTIONS, names=request.param)


def test_it_classifies_by_what_it_found(world, model):
    test = world.split("test")

    assert float((model.predict(test.x) == test.labels).float().mean()) > 0.85


def test_atoms_that_follow_a_concept_bear_its_name(world, model):
    """In test images, the best atom of each class concept, told by annotations that the fit has not seen."""
    test = world.split("test")
    scores, labels = model.scores(test.x), test.concept_labels
    together = torch.corrcoef(torch.cat([scores, labels], 1).T)[: len(model.concepts), len(model.concepts) :]
    strong = torch.nonzero(together.max(1).values > 0.7).flatten().tolist()

    right = [model.concepts[i].split(" #")[0] in names_like(world, together[i]) for i in strong]

    assert len(strong) >= 4
    assert sum(right) >= 0.8 * len(right)


def names_like(world, row: torch.Tensor) -> set[str]:
    """The concept that an atom follows best and that which always comes with it: both define one class."""
    best = int(row.argmax())
    return {world.concepts[best], world.concepts[best ^ 1]}


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk"])
def test_scores_are_never_negative_and_often_zero(world, kind):
    made = fit("dncbm", world, **{**OPTIONS, "kind": kind, "epochs": 20})

    scores = made.scores(world.x)

    assert isinstance(made.bottleneck, ReluBottleneck)
    assert float(scores.min()) == 0
    assert float((scores == 0).float().mean()) > 0.2


def test_scores_are_in_standard_deviations_over_the_training_images(world, model):
    spread = model.scores(world.split("train").x).std(0, correction=0)

    assert torch.allclose(spread, torch.ones(len(spread)), atol=1e-3)


def test_labels_have_no_say_in_what_is_found(world, model):
    other = fit("dncbm", replace(world, labels=world.labels.flip(0)), **OPTIONS)

    assert torch.equal(other.bottleneck.atoms, model.bottleneck.atoms)


def test_words_come_from_the_bank_then_from_annotations_then_from_sentences(world, planted):
    few = planted.bank.select(["striped", "crested"])
    told = {"wren": ("hooked bill", "Hooked  bill"), "teal": ("long tail",)}
    quick = {**OPTIONS, "epochs": 5}

    def words(data) -> set[str]:
        return {name.split(" #")[0] for name in fit("dncbm", data, **quick).concepts}

    assert words(replace(world, bank=few, candidates=told)) <= {"striped", "crested"}
    assert words(replace(world, candidates=told)) <= set(world.concepts)
    bare = replace(world, concepts=(), concept_labels=None)
    assert words(replace(bare, candidates=told)) <= {"hooked bill", "long tail"}
    with pytest.raises(ModelError, match="no words"):
        fit("dncbm", bare, **quick)


def test_a_name_says_how_close_it_is_and_what_is_measured(model):
    assert all(len(origin.words) > 1 and origin.words[0][1] >= origin.words[1][1] for origin in model.bank.origin)
    assert any(quality.auroc is not None for quality in model.bank.quality)
    assert "of 16 atoms are used" in model.recipe.notes[0]


def test_a_penalty_that_silences_every_atom_is_said(world):
    with pytest.raises(DataError, match="no atom is used"):
        fit("dncbm", world, **{**OPTIONS, "kind": "relu", "l1": 100.0})


def test_it_needs_a_text_encoder_or_atoms_only():
    assert [need.name for need in METHOD.needs] == ["TEXT_OR_ATOMS"]


def test_atoms_that_nobody_named_are_numbered_and_need_no_text_encoder(world):
    live = live_atoms(train_sae(world.x, SaeConfig(width=16, k=3, epochs=20)), world.x)
    atoms = unnamed_atoms(live, encoder_id=world.encoder_id, contract=world.contract)

    found = fit("dncbm", replace(world, encoder=None), bank=atoms, **OPTIONS)

    assert atoms.names == tuple(f"atom {place}" for place in range(1, len(live) + 1))
    assert set(found.concepts) <= set(atoms.names)
    torch.testing.assert_close(codes_of_bank(atoms, world.x), codes_of(live, world.x), rtol=0, atol=1e-5)
    assert all(not origin.words for origin in atoms.origin)


def test_edits_do_to_scores_what_they_say(world, model):
    before, (a, b, c, *_) = model.scores(world.x), model.concepts

    def after(*edits):
        return apply(model, edits).scores(world.x)

    assert torch.allclose(after(SetScore(a, 1.5))[:, 0], torch.full((len(world),), 1.5))
    assert torch.allclose(after(ScaleScore(a, -2.0))[:, 0], -2 * before[:, 0], atol=1e-5)
    assert torch.allclose(after(DropConcept(a)), before[:, 1:], atol=1e-6)
    assert torch.equal(after(RenameConcept(b, "another name")), before)
    merged = after(MergeConcepts((a, c), "both"))
    assert torch.allclose(merged[:, 0], (before[:, 0] + before[:, 2]) / 2, atol=1e-5)
    assert torch.allclose(after(ScaleScore(a, 2.0), SetScore(b, 0.0))[:, 2:], before[:, 2:], atol=1e-6)


def test_an_edited_model_is_the_same_after_saving_and_loading(world, model, tmp_path):
    a, b, c, *_ = model.concepts
    edited = apply(model, [MergeConcepts((a, c), "both"), DropConcept(b)])

    read = load(save(edited, tmp_path / "model"))

    assert fingerprint(read) == fingerprint(edited)
    assert torch.equal(read.logits(world.x), edited.logits(world.x))


def test_atoms_that_do_not_fit_their_weights_are_refused(model, tmp_path):
    wrong = copy(model.bottleneck)
    object.__setattr__(wrong, "offsets", wrong.offsets[:-1])  # a constructor would not let it through

    with pytest.raises(BundleError, match=r"bottleneck\.offsets"):
        load(save(replace(model, bottleneck=wrong), tmp_path / "model"))


def test_a_bank_of_atoms_serves_other_heads_and_data_without_training_again(world, model):
    """The head comes out the same, with labels turned round another one; names given by hand stay."""
    bank = model.bank.rename(model.concepts[0], "by hand")
    named = replace(world, bank=bank)

    again = fit("dncbm", named, **{**OPTIONS, "epochs": 1})
    other = fit("dncbm", replace(named, labels=world.labels.flip(0)), **OPTIONS)

    assert again.concepts == ("by hand", *model.concepts[1:])
    assert torch.allclose(again.scores(world.x), model.scores(world.x), atol=1e-5)
    assert torch.equal(again.predict(world.x), model.predict(world.x))
    assert torch.equal(other.bottleneck.atoms, again.bottleneck.atoms)
    assert not torch.equal(other.head.weight, again.head.weight)
    assert "atoms of the bank" in again.recipe.notes[0]


def test_atoms_that_the_images_do_not_use_are_left_out(world, model):
    silenced = replace(model.bank, intercepts=model.bank.intercepts - torch.eye(len(model.bank))[0] * 1e3)

    made = fit("dncbm", replace(world, bank=silenced), **OPTIONS)

    assert made.concepts == model.concepts[1:]


def test_what_an_atom_may_be_called_comes_back_from_a_file(model, tmp_path):
    bank = model.bank.rename(model.concepts[0], "by hand").rename("by hand", "better")

    back = load_bank(save_bank(bank, tmp_path / "bank"))

    assert back.origin == bank.origin
    assert back.origin[0].detail.endswith("; named by hand “better”")
    assert back.origin[0].words == model.bank.origin[0].words
    assert fingerprint(back) == fingerprint(bank)


def test_the_use_of_atoms_is_that_of_all_images_together():
    codes = torch.randn(9000, 7, generator=torch.Generator().manual_seed(1)).relu()
    codes[:, 3], codes[:, 5] = 0.3, 0.0

    use = use_of(lambda rows: rows, codes)

    assert use.images.tolist() == (codes > 0).sum(0).tolist()
    torch.testing.assert_close(use.spread, codes.double().std(0, correction=0).float(), rtol=1e-6, atol=0)
    assert use.spread[3] == 0
    assert use.enough(9000).tolist() == [0, 1, 2, 4, 6]
