from dataclasses import FrozenInstanceError

import pytest
import torch

from cbm.bottleneck import LinearBottleneck, clamp_of
from cbm.errors import DataError, ModelError, UnknownName
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe, linear_head


class Doubling:
    """A head that is not linear in our sense: it has no weights to look at."""

    def __call__(self, s, x):
        return 2 * s

    def contributions(self, s, x, target):
        return 2 * s

    def effects(self):
        return 2 * torch.eye(2)


def model(head=None, concepts=("a", "b")):
    bottleneck = LinearBottleneck(torch.eye(2), torch.zeros(2))
    head = head or LinearHead(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2))
    return ConceptModel(concepts, ("wren", "teal"), bottleneck, head, Recipe("by hand"))


X = torch.tensor([[3.0, 1.0], [0.0, 2.0]])


def test_scores_logits_probabilities_and_predictions_follow_from_each_other():
    made = model()

    assert made.scores(X).tolist() == made.logits(X).tolist() == [[3.0, 1.0], [0.0, 2.0]]
    assert made.probabilities(X)[0, 0] == pytest.approx(1 / (1 + torch.exp(torch.tensor(-2.0)).item()))
    assert made.predict(X).tolist() == [0, 1]


def test_a_clamp_reaches_the_decision():
    made = model()

    assert made.predict(X, clamp_of(made.concepts, {"b": 5.0})).tolist() == [1, 1]


def test_a_model_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        model().concepts = ("c", "d")


def test_unknown_names_are_answered_with_the_choices():
    with pytest.raises(UnknownName, match="no concept named 'c'"):
        model().concept("c")
    with pytest.raises(UnknownName, match="no class named 'kite'"):
        model().class_("kite")


def test_two_concepts_of_one_name_are_refused():
    with pytest.raises(DataError, match="'a' is there twice"):
        model(concepts=("a", "a"))


def test_only_a_linear_head_is_exact_and_has_weights():
    assert model().exact
    assert not model(head=Doubling()).exact
    with pytest.raises(ModelError, match="by hand has no weight"):
        linear_head(model(head=Doubling()))
