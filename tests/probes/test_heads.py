"""The importance of heads whose part is known: one that does nothing, and one that does everything."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # tests are imported without packages
from small_vit import BLOCKS, HEADS, linear_model, only_head, pictures, small_encoder, without_head

from cbm.errors import EncoderError, ModelError
from probes.gated import Question, embed_gated, embedded, mean_outputs
from probes.head_effects import effects_of_heads, look
from probes.head_gates import information, learn_gates, log_alpha
from probes.heads import SATURATED, ablate_heads, michel_importance
from probes.pruning import agreement, departure, named_heads, overlap, pruning_curve

SOLE, DEAD = (1, 2), (0, 3)


def ones() -> torch.Tensor:
    return torch.ones(BLOCKS, HEADS)


def test_open_gates_change_nothing_and_closed_ones_give_the_mean_instead():
    encoder, images = small_encoder(), pictures()
    closed = ones()
    closed[SOLE] = 0

    torch.testing.assert_close(embedded(encoder, images, ones()), encoder.encode_pixels(images))
    away = embedded(only_head(encoder, *SOLE), images, closed, instead=mean_outputs(encoder, images))

    assert (away - away[0]).abs().max() < 1e-5  # nothing is left that depends on the image


@pytest.mark.parametrize("replacement", ["mean", "zero"])
def test_a_dead_head_matters_to_nobody(replacement):
    encoder, images = without_head(small_encoder(), *DEAD), pictures()
    model = linear_model(encoder)
    ablation = ablate_heads(encoder, images, replacement=replacement)
    question = Question(model, ablation.full)

    importance = question.distance(ablation.without).mean(-1)
    slope = michel_importance(encoder, images, question.height)

    assert (ablation.without[DEAD] - ablation.full).abs().max() < 1e-6
    assert importance[DEAD] == pytest.approx(0, abs=1e-7)  # rounding
    assert slope.values[DEAD] < 1e-7
    assert named_heads(importance < 1e-7) == named_heads(slope.values < 1e-7) == [DEAD]


@pytest.mark.parametrize("concept", ["", "concept 1"])
def test_the_sole_head_comes_first_under_every_importance(concept):
    encoder, images = only_head(small_encoder(), *SOLE), pictures()
    model = linear_model(encoder)
    ablation = ablate_heads(encoder, images)
    question = Question(model, ablation.full, concept)

    importance = question.distance(ablation.without).mean(-1)
    slope = michel_importance(encoder, images, question.height)
    gates = learn_gates(encoder, images, question.distance_at, betas=(1e-3, 1e-2), steps=40, seeds=2, batch=6)

    for values in (importance, slope.values, gates.importance):
        assert named_heads(values == values.max()) == [SOLE]
    assert not slope.saturated
    assert gates.kept[:, SOLE[0], SOLE[1]].tolist() == [1, 1]
    others = ones().bool()
    others[SOLE] = False
    assert gates.kept[-1][others].max() == 0


def test_the_derivative_is_that_of_finite_differences():
    encoder, images = small_encoder(), pictures(1)
    model = linear_model(encoder)
    question = Question(model, embedded(encoder, pictures()), "concept 0")
    slope = michel_importance(encoder, images, question.height)
    nearly = ones()
    nearly[2, 1] = 1 - 1e-2

    change = question.height(embedded(encoder, images, nearly)) - question.height(embedded(encoder, images, ones()))

    assert abs(float(change)) / 1e-2 == pytest.approx(float(slope.values[2, 1]), rel=0.05)


def test_a_saturated_target_is_reported_and_the_score_ranks_the_head_first():
    encoder, images = only_head(small_encoder(), *SOLE), pictures()
    full = embedded(encoder, images)

    def own_cosine(x: torch.Tensor) -> torch.Tensor:
        return (x * full).sum(1)

    saturated, score = (
        michel_importance(encoder, images, own_cosine),
        michel_importance(encoder, images, lambda x: x[:, 0]),
    )

    assert saturated.values.max() < SATURATED
    assert saturated.saturated
    assert not score.saturated
    assert named_heads(score.values == score.values.max()) == [SOLE]


def test_the_algebra_of_gates():
    mu, start = torch.tensor([-2.0, 0.0, 1.0]), torch.full((3,), -9.0)

    assert information(mu, start).min() >= 0
    assert float(information(mu, start)[2]) == pytest.approx(4.50, abs=0.001)
    assert information(mu, torch.full((3,), 40.0)).max() < 1e-6
    torch.testing.assert_close(log_alpha(mu, start), log_alpha(-mu, start))
    assert (log_alpha(mu, start) < 0).tolist() == [True, False, True]


def test_a_dead_head_is_pruned_and_the_same_seed_learns_the_same():
    encoder, images = without_head(small_encoder(), *DEAD), pictures()
    model = linear_model(encoder)
    question = Question(model, embedded(encoder, images))
    options = {"betas": (1e-2,), "steps": 20, "seeds": 1, "batch": 6}

    first, again = (learn_gates(encoder, images, question.distance_at, **options) for _ in range(2))

    assert first.log_alpha[0, 0][DEAD] > 0
    assert not first.mask()[DEAD]
    torch.testing.assert_close(first.log_alpha, again.log_alpha)


def test_what_heads_add_and_the_rest_sum_to_the_score():
    encoder, images = small_encoder(), pictures(1)
    model = linear_model(encoder)

    found = effects_of_heads(model, encoder, look(encoder, images[0]), model.concepts)

    score = model.scores(encoder.encode_pixels(images))[0]
    torch.testing.assert_close(found.heads.sum((1, 2)) + found.rest, score)
    assert found.places.shape == (3, BLOCKS, HEADS, 4, 4)


def test_in_an_encoder_of_one_head_only_that_head_adds():
    encoder = only_head(small_encoder(), *SOLE)
    model = linear_model(encoder)

    found = effects_of_heads(model, encoder, look(encoder, pictures(1)[0]), model.concepts)

    others = ones().bool()
    others[SOLE] = False
    assert found.heads[:, others].abs().max() == 0
    assert found.heads[:, SOLE[0], SOLE[1]].abs().min() > 0


def test_the_rollout_starts_as_the_identity_and_shares_sum_to_one():
    seen = look(small_encoder(), pictures(1)[0])

    itself = 0.5**BLOCKS  # at least what the class token keeps
    assert 0 < float(seen.rollout().sum()) < 1 - itself
    assert seen.attention().shape == (BLOCKS, HEADS, 4, 4)


def test_scores_that_are_not_linear_have_no_direct_effects():
    from dataclasses import replace

    encoder = small_encoder()
    model = replace(linear_model(encoder), bottleneck=lambda x, clamp=None: x[:, :3] ** 2)

    with pytest.raises(ModelError, match="not linear"):
        effects_of_heads(model, encoder, look(encoder, pictures(1)[0]), ["concept 0"])


def test_an_encoder_without_attention_is_refused_in_words(word_encoder):
    with pytest.raises(EncoderError, match="no vision transformer"):
        embed_gated(word_encoder, pictures(1), ones())


def test_pruning_in_a_good_order_is_never_worse_than_by_chance():
    encoder, images = only_head(small_encoder(), *SOLE), pictures()
    model = linear_model(encoder)
    labels = model.predict(encoder.encode_pixels(images))
    last, first = torch.zeros(BLOCKS, HEADS), ones()
    last[SOLE], first[SOLE] = 1, 0

    curve = pruning_curve(encoder, images, model, labels, {"best": last, "worst": first}, points=4, draws=6)

    assert curve.removed == (0, 4, 7, 11)
    assert curve.cosine["best"] == pytest.approx([1] * 4)
    assert curve.accuracy["best"] == pytest.approx([1] * 4)
    assert curve.cosine["worst"][1] < 0.999
    assert curve.area("worst") < curve.area("random") < curve.area("best") == pytest.approx(1)
    assert all(low <= high for low, high in curve.band)


def test_nothing_departs_when_nothing_is_closed():
    encoder, images = small_encoder(), pictures()
    model = linear_model(encoder)
    full = encoder.encode_pixels(images)

    found = departure(model, full, full, model.predict(full))

    assert (found.before.value, found.after.value, found.same.value) == (1, 1, 1)
    assert found.cosine == pytest.approx(1)
    assert max(found.concepts.values()) == 0


def test_orders_that_agree_and_that_do_not():
    up = torch.arange(12.0).view(BLOCKS, HEADS)

    same, against = agreement({"a": up, "b": up.square(), "c": up + 1}), agreement({"a": up, "b": -up})

    assert same.kendall_w == pytest.approx(1)
    assert same.spearman["a", "b"] == pytest.approx(1)
    assert against.kendall_w == pytest.approx(0)
    assert against.spearman["a", "b"] == pytest.approx(-1)
    assert overlap(up > 5, up) == 1
    assert overlap(up > 5, -up) == 0
