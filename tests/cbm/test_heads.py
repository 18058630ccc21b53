import pytest
import torch

from cbm.heads import LinearHead, residual_share

S = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.0, 3.0]])
X = torch.tensor([[1.0, 1.0], [2.0, 0.0]])
HEAD = LinearHead(torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 4.0]]), torch.tensor([0.5, -0.5]))
WITH_RESIDUAL = LinearHead(HEAD.weight, HEAD.bias, torch.tensor([[1.0, 0.0], [0.0, 10.0]]))


def test_logits_by_hand():
    assert HEAD(S, X).tolist() == [[-2.5, 1.5], [1.0, 11.5]]


def test_a_residual_adds_class_weights_on_the_embedding():
    assert WITH_RESIDUAL(S, X).tolist() == [[-1.5, 11.5], [3.0, 11.5]]


@pytest.mark.parametrize("head", [HEAD, WITH_RESIDUAL])
@pytest.mark.parametrize("target", [0, 1])
def test_contributions_bias_and_residual_add_up_to_the_logit(head, target):
    total = head.contributions(S, X, target).sum(1) + head.bias[target] + head.residual_logits(X)[:, target]

    assert torch.allclose(total, head(S, X)[:, target])


def test_without_a_residual_its_logits_and_share_are_zero():
    assert HEAD.residual_logits(X).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert residual_share(HEAD, S, X) == 0


def test_the_residual_is_everything_when_the_concepts_are_silent():
    silent = LinearHead(torch.zeros(2, 3), torch.zeros(2), WITH_RESIDUAL.residual)

    assert residual_share(silent, S, X) == pytest.approx(1)


def test_the_share_ignores_what_is_added_to_all_logits_alike():
    alike = LinearHead(HEAD.weight, HEAD.bias, torch.tensor([[5.0, 3.0], [5.0, 3.0]]))

    assert residual_share(alike, S, X) == pytest.approx(0, abs=1e-12)


def test_the_share_by_hand():
    # one concept and one embedding dimension, independent: logits differ by 2s + 1x, so x has 1 / (4 + 1)
    s = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    x = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    head = LinearHead(torch.tensor([[1.0], [-1.0]]), torch.zeros(2), torch.tensor([[0.5], [-0.5]]))

    assert residual_share(head, s, x) == pytest.approx(0.2)
