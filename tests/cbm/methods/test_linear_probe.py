import pytest
import torch

from cbm.dense_heads import fit_dense
from cbm.explanations import explain
from cbm.methods import fit


def test_it_is_the_logistic_regression_with_the_ridge_asked_for(planted):
    train = planted.training.split("train")

    model = fit("linear-probe", planted.training, ridge=0.01)

    by_hand = fit_dense(train.x, train.labels, 4, ridge=0.01)
    assert torch.equal(model.logits(planted.training.x), planted.training.x @ by_hand.weight.T + by_hand.bias)
    assert model.recipe.notes == ("ridge 0.01",)


def test_it_reads_the_planted_world(planted):
    test = planted.training.split("test")

    model = fit("linear-probe", planted.training)

    assert float((model.predict(test.x) == test.labels).double().mean()) > 0.97


def test_it_has_no_concepts_and_explains_by_residual_alone(planted):
    why = explain(fit("linear-probe", planted.training), planted.training.x[0])

    assert why.concepts == ()
    assert why.bias + why.residual == pytest.approx(why.logit, abs=1e-4)
