"""Concept matrix search against what the published code predicted, and against profiles computed one by one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from cbm.edits import DropConcept, PruneWeight, ScaleScore, SetScore, apply
from cbm.errors import DataError, ModelError
from cbm.explanations import explain
from cbm.live import live_logits
from cbm.methods import fit
from cbm.methods.cms import by_strongest_concept, nearest_profile, profile_cosines
from cbm.preprocessing import Preprocessing

REFERENCE = Path(__file__).parents[2] / "reference" / "cms.npz"


@pytest.fixture(scope="module")
def published():
    arrays = np.load(REFERENCE)
    found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return found | {name: normalize(found[name][:, 0], dim=1) for name in ("image", "text", "concept")}


@pytest.fixture(scope="module")
def signed():
    """Images, concepts and class texts whose profiles have sums of either sign."""
    generator = torch.Generator().manual_seed(3)
    return tuple(normalize(torch.randn(n, 16, generator=generator), dim=1) for n in (200, 30, 9))


def by_rows(x, concepts, classes):
    """The published formula, profile by profile."""
    images, texts = x @ concepts.T, classes @ concepts.T
    images, texts = images / (images.sum(1, keepdim=True) + 1e-8), texts / (texts.sum(1, keepdim=True) + 1e-8)
    return torch.stack([torch.cosine_similarity(row[None], texts) for row in images])


class TextsOf:
    """An encoder that knows the texts "0", "1", "2", ... only."""

    templates = ("{}",)
    id, contract, preprocessing = "planted", "planted-contract", Preprocessing(size=(8, 8))

    def __init__(self, texts):
        self.texts, self.dim = texts, texts.shape[1]

    def encode_images(self, images):
        raise NotImplementedError("this encoder reads words only")

    encode_pixels = encode_images

    def encode_texts(self, texts):
        return self.texts[[int(text) for text in texts]]


def world_of(planted, x, concepts, classes):
    bank = replace(
        planted.bank, names=tuple(f"concept {i}" for i in range(len(concepts))), vectors=concepts,
        intercepts=torch.zeros(len(concepts)), origin=planted.bank.origin[:1] * len(concepts),
        quality=planted.bank.quality[:1] * len(concepts),
    )  # fmt: skip
    n = len(x)
    return replace(
        planted.training, x=x, labels=torch.arange(n) % len(classes), classes=tuple(map(str, range(len(classes)))),
        splits=np.full(n, "train"), ids=tuple(map(str, range(n))), concepts=(), concept_labels=None, groups=None,
        bank=bank, encoder=TextsOf(classes),
    )  # fmt: skip


def test_cosines_are_the_published_ones(published):
    ours = profile_cosines(published["image"].double(), published["concept"].double(), published["text"].double())

    assert (ours - published["cosine"]).abs().max() < 1e-6
    assert torch.equal(ours.argmax(1), published["prediction"])


def test_a_model_predicts_what_the_published_code_does(planted, published):
    world = world_of(planted, published["image"], published["concept"], published["text"])

    model = fit("cms", world, centre=False, scale=1)

    assert (model.logits(world.x) - published["cosine"]).abs().max() < 2e-6
    assert torch.equal(nearest_profile(world.x, world.bank.vectors, published["text"]), published["prediction"])
    assert (model.predict(world.x) == published["prediction"]).double().mean() == 1


def test_dividing_by_sums_turns_profiles_over(planted, signed):
    x, concepts, classes = signed
    world = world_of(planted, *signed)

    model = fit("cms", world, centre=False, rows="sum", scale=1)

    wanted = by_rows(x, concepts, classes)
    assert (model.logits(x) - wanted).abs().max() < 1e-5
    assert (profile_cosines(x, concepts, classes, rows="sum") - wanted).abs().max() < 1e-5
    assert torch.equal(nearest_profile(x, concepts, classes, rows="sum"), wanted.argmax(1))
    assert (nearest_profile(x, concepts, classes) != wanted.argmax(1)).double().mean() > 0.2


def test_the_default_does_not_mistake_a_negative_sum_for_the_opposite(planted, signed):
    x, concepts, classes = signed

    cosines = profile_cosines(x, concepts, classes)

    profiles = normalize(x @ concepts.T, dim=1) @ normalize(classes @ concepts.T, dim=1).T
    assert (cosines - profiles).abs().max() < 1e-5


def test_every_class_is_compared_in_the_same_way(published):
    """The published score dictionary cubes the cosine of all classes but the first."""
    cosines = profile_cosines(published["image"].double(), published["concept"].double(), published["text"].double())

    assert (cosines[0] > 0.999).all()
    assert (published["cubed_cosine"][0] < 0.999).all()


def test_the_strongest_concept_decides_by_its_share(signed):
    x, concepts, classes = signed
    images, texts = x @ concepts.T, classes @ concepts.T
    images, texts = images / images.sum(1, keepdim=True), texts / texts.sum(1, keepdim=True)

    found = by_strongest_concept(x, concepts, classes, rows_at_once=64)

    assert found.tolist() == [int(texts[:, row.argmax()].argmax()) for row in images]


def test_taking_the_average_concept_off_tells_classes_apart(planted, published):
    world = world_of(planted, published["image"], published["concept"], published["text"])

    plain, centred = (fit("cms", world, centre=centre, scale=1).logits(world.x) for centre in (False, True))

    spread = [float((logits.max(1).values - logits.min(1).values).mean()) for logits in (plain, centred)]
    assert spread[0] < 1e-3
    assert spread[1] > 0.3


def test_contributions_add_up_to_the_cosine(planted, word_encoder):
    world = replace(planted.training, bank=planted.bank, encoder=word_encoder)
    model = fit("cms", world, scale=1)

    why = explain(model, world.x[0])

    assert why.exact
    assert why.logit == pytest.approx(sum(part.contribution for part in why.concepts), abs=1e-6)
    assert abs(why.logit) <= 1


def test_edits_hold_and_live_logits_follow(planted, word_encoder):
    world = replace(planted.training, bank=planted.bank, encoder=word_encoder)
    model = fit("cms", world)

    dropped, pruned = apply(model, [DropConcept("striped")]), apply(model, [PruneWeight("striped")])
    held = apply(model, [SetScore("crested", 0.5)])
    scaled = live_logits(model, world.x).edited(ScaleScore("spotted", 2.0))

    assert (dropped.logits(world.x) - pruned.logits(world.x)).abs().max() < 1e-5
    assert (held.scores(world.x)[:, held.concept("crested")] - 0.5).abs().max() < 1e-6
    assert (scaled.logits.T - scaled.model.logits(world.x)).abs().max() < 1e-4


def test_an_image_like_no_concept_scores_zero(planted, word_encoder):
    world = replace(planted.training, bank=planted.bank, encoder=word_encoder)
    model = fit("cms", world, centre=False)
    outside = torch.linalg.svd(planted.bank.vectors).Vh[-1:]

    assert model.scores(outside).abs().max() == 0


def test_a_class_name_like_no_concept_is_refused(planted):
    vectors = torch.eye(24)[:2]
    bank = replace(planted.bank.select(planted.bank.names[:2]), vectors=vectors)
    world = replace(planted.training, bank=bank, classes=tuple("0123"), encoder=TextsOf(torch.eye(24)[1:5]))

    with pytest.raises(DataError, match="text of class '1' is not like any concept"):
        fit("cms", world, centre=False)


def test_a_class_can_be_the_mean_of_its_sentences(planted, word_encoder):
    sentences = {name: (f"{a} thing", f"with {b}") for name, (a, b) in planted.class_concepts.items()}
    world = replace(planted.training, bank=planted.bank, encoder=word_encoder, candidates=sentences)

    model = fit("cms", world, classes="sentences", centre=False, scale=1)

    texts = torch.stack([word_encoder.encode_texts(list(pair)).mean(0) for pair in sentences.values()])
    assert (model.logits(world.x) - profile_cosines(world.x, planted.bank.vectors, texts)).abs().max() < 1e-5
    with pytest.raises(ModelError, match="candidate sentences"):
        fit("cms", replace(world, candidates=None), classes="sentences")
