"""What every method promises, asked of all that are registered: a new one is tested here by being registered."""

from dataclasses import fields, replace

import pytest
import torch

from cbm.bank import ConceptBank, Origin
from cbm.config import specs
from cbm.edits import (
    DropConcept,
    Edit,
    MergeConcepts,
    PruneWeight,
    RenameConcept,
    ScaleScore,
    SetScore,
    SetWeight,
    apply,
    dumps,
    loads,
)
from cbm.edits import TestTimeFix as Fix  # under its own name pytest takes it for a test
from cbm.errors import Cancelled, DataError, ModelError
from cbm.explanations import explain
from cbm.io import fingerprint, load, save
from cbm.methods import MODULES, Method, Need, fit, fit_again, method, methods, missing
from cbm.model import ConceptModel

NAMES = list(MODULES)


def quick(name: str) -> dict[str, int]:
    """Two concepts a class and a few passes over the images are enough for the planted world, where a method counts them, and a small network."""
    known = {field.name for field in fields(method(name).config)}
    return {option: value for option, value in {"nec": 2, "epochs": 12, "hidden": 24}.items() if option in known}


@pytest.fixture(scope="module")
def world(planted, word_encoder):
    """A training set that has everything that any method needs."""
    sentences = {name: (f"shows {a}", f"{a} and {b}", f"has {b}") for name, (a, b) in planted.class_concepts.items()}
    candidates = {**sentences, "dodo": ("extinct", "cannot fly")}
    kinds, things = (
        ("red", "long", "striped", "white", "hooked", "tall"),
        ("bill", "wing", "tail", "lake", "leg", "eye"),
    )
    words = tuple(f"{kind} {thing}" for kind in kinds for thing in things)
    return replace(planted.training, bank=planted.bank, encoder=word_encoder, candidates=candidates, vocabulary=words)


@pytest.fixture(scope="module")
def fitted(world):
    return {name: fit(name, world, **quick(name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits(name, world, fitted):
    assert fingerprint(fit(name, world, **quick(name))) == fingerprint(fitted[name])


@pytest.mark.parametrize("name", NAMES)
def test_progress_runs_from_nought_to_one_and_never_back(name, world):
    seen: list[float] = []

    fit(name, world, on_progress=lambda fraction, message: seen.append(fraction), **quick(name))

    assert seen[0] == 0
    assert seen[-1] == 1
    assert seen == sorted(seen)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("after", [1, 2, 5])
def test_it_stops_when_asked_to(name, after, world):
    total: list[float] = []
    fit(name, world, on_progress=lambda fraction, message: total.append(fraction), **quick(name))
    calls = iter(range(1_000_000))

    def stop(fraction: float, message: str) -> None:
        if next(calls) + 1 == min(after, len(total)):
            raise Cancelled

    with pytest.raises(Cancelled):
        fit(name, world, on_progress=stop, **quick(name))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_model_after_saving_and_loading(name, world, fitted, tmp_path):
    read = load(save(fitted[name], tmp_path / "model"))

    assert fingerprint(read) == fingerprint(fitted[name])
    assert torch.equal(read.logits(world.x), fitted[name].logits(world.x))


@pytest.mark.parametrize("name", NAMES)
def test_contributions_bias_and_residual_add_up_on_every_test_image(name, world, fitted):
    for x in world.split("test").x:
        why = explain(fitted[name], x)
        if why.exact:
            total = why.bias + why.residual + sum(concept.contribution for concept in why.concepts)
            assert total == pytest.approx(why.logit, abs=1e-4)


def script_for(model: ConceptModel) -> tuple[Edit, ...]:
    """Edits of every kind that the model takes; one that it does not take is refused with a hint."""
    if len(model.concepts) < 4:
        return ()
    (a, b, c, d, *_), (class_, *_) = model.concepts, model.classes
    asked = (
        SetWeight(a, class_, 0.5), PruneWeight(b, normalise=True), RenameConcept(c, "another name"), ScaleScore(a, -2.0),
        SetScore(b, 0.25), MergeConcepts((a, b), "both"), Fix(mask=("both",), amplify=(("another name", 2.0),)), DropConcept(d),
    )  # fmt: skip
    taken: list[Edit] = []
    for edit in asked:
        taken += [edit] if accepts(apply(model, taken), edit) else []
    return tuple(taken)


def accepts(model: ConceptModel, edit: Edit) -> bool:
    """Whether a model takes an edit; if not, it has to say what else can be done."""
    try:
        apply(model, [edit])
    except ModelError as refused:
        if not refused.hint:
            raise
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_edits_keep_their_laws(name, world, fitted):
    model = fitted[name]
    before, script = fingerprint(model), script_for(model)

    for cut in range(len(script) + 1):
        assert fingerprint(apply(apply(model, script[:cut]), script[cut:])) == fingerprint(apply(model, script))
    assert apply(model, ()) is model
    assert loads(dumps(script)) == script
    assert fingerprint(model) == before
    assert len(script) >= 3 or len(model.concepts) < 4


@pytest.mark.parametrize("name", NAMES)
def test_an_edited_model_is_saved_and_explained_as_any_other(name, world, fitted, tmp_path):
    script = script_for(fitted[name])
    edited = apply(fitted[name], script)

    read = load(save(edited, tmp_path / "edited"))

    assert fingerprint(read) == fingerprint(edited)
    assert read.edits == script
    why = explain(edited, world.x[0])
    if why.exact:
        total = why.bias + why.residual + sum(concept.contribution for concept in why.concepts)
        assert total == pytest.approx(why.logit, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_needs_and_does_not_get_is_asked_for_in_one_sentence(name, world):
    lacking = {
        Need.CONCEPT_BANK: replace(world, bank=None),
        Need.TEXT_BANK: replace(
            world, bank=replace(world.bank, origin=tuple(Origin("annotation") for _ in world.bank.names))
        ),
        Need.TEXT_ENCODER: replace(world, encoder=None),
        Need.TEXT_OR_ATOMS: replace(world, encoder=None),
        Need.CONCEPT_LABELS: replace(world, concepts=(), concept_labels=None),
        Need.CANDIDATES: replace(world, candidates=None),
    }
    for need in method(name).needs:
        with pytest.raises(ModelError) as caught:
            fit(name, lacking[need], **quick(name))
        assert need.value in caught.value.message
        assert caught.value.hint
        assert missing(method(name).needs, lacking[need]) == need.value


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_bank_is_no_bank(name, world):
    if Need.CONCEPT_BANK in method(name).needs:
        empty = ConceptBank((), torch.zeros(0, world.x.shape[1]), torch.zeros(0), (), ())
        with pytest.raises(ModelError, match="concept bank"):
            fit(name, world, bank=empty, **quick(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_bank_of_another_encoder_is_refused(name, world):
    if Need.CONCEPT_BANK in method(name).needs:
        with pytest.raises(DataError, match="concept bank was made with"):
            fit(name, world, bank=replace(world.bank, contract="other", encoder_id="other"), **quick(name))


@pytest.mark.parametrize("name", NAMES)
def test_one_class_alone_cannot_be_learned(name, world, fitted):
    if fitted[name].recipe.images:
        with pytest.raises(DataError, match="belong to the class 'wren'"):
            fit(name, world.where((world.labels == 0).numpy()), **quick(name))


@pytest.mark.parametrize("name", NAMES)
def test_two_classes_have_two_logits_of_which_both_count(name, world):
    two = replace(world.where((world.labels < 2).numpy()), classes=world.classes[:2])

    made = fit(name, two, **quick(name))

    assert made.logits(two.x).shape == (len(two), 2)
    assert made.probabilities(two.x).sum(1).sub(1).abs().max() < 1e-6
    assert set(made.predict(two.x).tolist()) == {0, 1}


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_training_images_is_hardly_ever_decided_for(name, world, fitted):
    if not fitted[name].recipe.images:
        return  # it learns from no image
    rare = replace(world, classes=(*world.classes, "dodo"))

    made = fit(name, rare, **quick(name))

    assert 4 not in made.predict(rare.x).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_makes_the_model_again(name, world, fitted):
    recipe = fitted[name].recipe

    assert recipe.method == name
    assert set(recipe.options) == {field.name for field in fields(method(name).config)}
    assert (recipe.encoder_id, recipe.contract) == (world.encoder_id, world.contract)
    assert fingerprint(fit_again(recipe, world)) == fingerprint(fitted[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_test_images_have_no_say(name, world, fitted):
    """A model fitted without its test images, or with other ones, is the same model."""
    assert fingerprint(fit(name, world.where(world.splits != "test"), **quick(name))) == fingerprint(fitted[name])


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_and_where_it_comes_from(name):
    found: Method = method(name)

    assert found.name == name
    assert found.title
    assert found.summary.endswith(".")
    assert any(year in found.paper for year in map(str, range(1990, 2100)))
    assert all(spec.help and not spec.help.endswith(".") for spec in specs(found.config))


def test_names_are_distinct():
    assert len({found.title for found in methods()}) == len(methods()) == len(NAMES)
