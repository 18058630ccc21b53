"""Live logits against the whole model computed again."""

import pytest
import torch

from cbm import edits
from cbm.bottleneck import LinearBottleneck, clamp_of
from cbm.errors import PellucidError
from cbm.heads import LinearHead
from cbm.live import LiveLogits, live_logits
from cbm.model import ConceptModel, Recipe

EDITS = (
    edits.SetWeight("concept 2", "class 1", -6.0),
    edits.PruneWeight("concept 0"),
    edits.PruneWeight("concept 3", "class 2"),
    edits.PruneWeight("concept 5", "class 0", normalise=True),
    edits.DropConcept("concept 4"),
    edits.RenameConcept("concept 1", "stripes"),
    edits.SetScore("concept 6", 2.5),
    edits.ScaleScore("concept 7", -1.5),
    edits.MergeConcepts(("concept 8", "concept 9", "concept 2"), "shape"),
    edits.TestTimeFix(("concept 10",), (("concept 11", 3.0),)),
    edits.TestTimeFix(("concept 10",), (("concept 3", 2.0),), (("concept 10", 0.7), ("concept 3", -0.4))),
)


@pytest.fixture
def images():
    return torch.randn(500, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[False, True], ids=["no residual", "residual"])
def model(request):
    g = torch.Generator().manual_seed(0)
    sparse = torch.rand(6, 12, generator=g) < 0.4
    weight = torch.randn(6, 12, generator=g) * sparse
    residual = 0.3 * torch.randn(6, 8, generator=g) if request.param else None
    return ConceptModel(
        concepts=tuple(f"concept {k}" for k in range(12)),
        classes=tuple(f"class {c}" for c in range(6)),
        bottleneck=LinearBottleneck(torch.randn(12, 8, generator=g), torch.randn(12, generator=g)),
        head=LinearHead(weight, torch.randn(6, generator=g), residual),
        recipe=Recipe("test"),
    )


def assert_like_the_model(live: LiveLogits, x: torch.Tensor) -> None:
    expected = live.model.logits(x)
    assert pytest.approx(expected, abs=1e-4) == live.logits.T  # float32 sums in another order
    assert torch.equal(live.predictions, expected.argmax(1))


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: type(edit).__name__)
def test_every_kind_of_edit_gives_what_the_whole_model_gives(model, images, edit):
    live = live_logits(model, images)

    edited = live.edited(edit)

    assert edited.model.edits == (edit,)
    assert_like_the_model(edited, images)


def test_a_long_script_of_edits_stays_exact(model, images):
    live = live_logits(model, images)

    for edit in EDITS[1:8] + EDITS[9:]:
        live = live.edited(edit)

    assert not torch.equal(live.predictions, model.predict(images))
    assert_like_the_model(live, images)


def test_no_class_but_the_predicted_one_is_above_the_rivals(model, images):
    live = live_logits(model, images)
    script = [edits.PruneWeight("concept 1"), edits.ScaleScore("concept 2", 3.0), edits.DropConcept("concept 0")]

    for edit in script:
        live = live.edited(edit)
        others = live.logits.scatter(0, live.predictions[None], -torch.inf)
        assert torch.equal(live.predictions, live.logits.argmax(0))
        assert bool((others <= live.rivals).all())
        assert bool((live.logits.gather(0, live.predictions[None])[0] >= others.amax(0)).all())


def test_an_edit_leaves_the_value_it_starts_from_alone(model, images):
    live = live_logits(model, images)
    logits, predictions = live.logits.clone(), live.predictions.clone()

    for edit in EDITS:
        live.edited(edit)
    live.intervened("concept 0", 5.0, torch.tensor([3]))

    assert torch.equal(live.logits, logits)
    assert torch.equal(live.predictions, predictions)


def test_an_intervention_equals_a_clamp_on_those_images_and_nothing_elsewhere(model, images):
    live = live_logits(model, images)
    chosen = torch.tensor([4, 8, 15])

    changed = live.intervened("concept 2", 9.0, chosen)

    clamped = model.logits(images[chosen], clamp_of(model.concepts, {"concept 2": 9.0}))
    assert pytest.approx(clamped, abs=1e-4) == changed.logits[:, chosen].T
    assert torch.equal(changed.predictions[chosen], clamped.argmax(1))
    elsewhere = torch.ones(500, dtype=torch.bool).index_fill(0, chosen, False)
    assert torch.equal(changed.logits[:, elsewhere], live.logits[:, elsewhere])


def test_an_edit_after_an_intervention_keeps_it(model, images):
    chosen = torch.arange(500)

    live = live_logits(model, images).intervened("concept 2", 1.0, chosen).edited(edits.PruneWeight("concept 3"))

    expected = live.model.logits(images, clamp_of(live.model.concepts, {"concept 2": 1.0}))
    assert pytest.approx(expected, abs=1e-4) == live.logits.T


def test_accuracy_counts_the_predictions(model, images):
    live = live_logits(model, images)

    assert live.accuracy(model.predict(images)) == 1


def test_an_edit_that_does_not_fit_is_refused(model, images):
    with pytest.raises(PellucidError, match="concept 99"):
        live_logits(model, images).edited(edits.DropConcept("concept 99"))
