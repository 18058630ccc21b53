from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cbm.edits import PruneWeight, SetWeight, apply
from cbm.heads import residual_share
from cbm.methods import fit
from cbm.methods.hybrid import flip_rate
from cbm.model import linear_head


def accuracy(model, data):
    return float((model.predict(data.x) == data.labels).double().mean())


def few_concepts(planted):
    """A bank without the concepts of two classes: what it cannot say, the residual has to."""
    return planted.bank.select(planted.bank.names[:4])


def test_the_concept_head_is_the_post_hoc_models_own(planted):
    hybrid = fit("posthoc-hybrid", planted.training, bank=planted.bank, nec=2)
    plain = fit("posthoc", planted.training, bank=planted.bank, nec=2)

    assert torch.equal(linear_head(hybrid).weight, linear_head(plain).weight)
    assert torch.equal(hybrid.scores(planted.training.x), plain.scores(planted.training.x))


def test_the_residual_says_what_the_concepts_cannot(planted):
    hybrid = fit("posthoc-hybrid", planted.training, bank=few_concepts(planted), nec=2)
    plain = fit("posthoc", planted.training, bank=few_concepts(planted), nec=2)

    test = planted.training.split("test")
    assert accuracy(plain, test) < 0.85
    assert accuracy(hybrid, test) > 0.95


def test_the_notes_say_how_much_the_residual_decides(planted):
    much = fit("posthoc-hybrid", planted.training, bank=few_concepts(planted), nec=2)
    little = fit("posthoc-hybrid", planted.training, bank=planted.bank, nec=2, ridge=1000.0)

    x = planted.training.split("val").x
    share = residual_share(linear_head(much), much.scores(x), x)
    assert share > 0.1
    assert flip_rate(much, x) > 0.1
    assert f"the residual is {share:.0%} of the variance of the logits" in much.recipe.notes[-1]
    assert "turns 0% of the decisions" in little.recipe.notes[-1]
    assert flip_rate(little, x) == 0


def test_with_two_classes_the_concepts_still_count(planted):
    """The published hybrid has one concept logit for two classes; it cancels in the softmax, so that any two concept
    heads give the same probabilities (shown by its own numbers, `hyb_bin_probs`). Ours must differ."""
    two = replace(planted.training.where((planted.training.labels < 2).numpy()), classes=planted.training.classes[:2])
    model = fit("posthoc-hybrid", two, bank=planted.bank, nec=2)

    edited = apply(model, [PruneWeight("striped"), SetWeight("crested", "wren", 3.0)])

    published = np.load(Path(__file__).parents[2] / "reference" / "pcbm.npz")
    assert np.abs(published["hyb_bin_probs_A"] - published["hyb_bin_probs_B"]).max() < 1e-6
    assert (edited.probabilities(two.x) - model.probabilities(two.x)).abs().max() > 0.2
    assert edited.logits(two.x).shape[1] == 2


def test_silencing_the_residual_at_its_mean_is_what_a_flip_is_counted_against(planted):
    model = fit("posthoc-hybrid", planted.training, bank=few_concepts(planted), nec=2)

    x = planted.training.split("val").x
    head = linear_head(model)
    mean = head.residual @ x.mean(0)
    silenced = replace(model, head=replace(head, residual=None, bias=head.bias + mean))
    expected = (silenced.predict(x) != model.predict(x)).double().mean()
    assert flip_rate(model, x) == float(expected)
