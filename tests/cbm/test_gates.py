"""Sampled gates open as often as they should, and the divergence is that of Bernoulli distributions."""

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from cbm.gates import divergence, sampled_gates

OPENING = torch.tensor([-2.0, 0.0, 1.5]).repeat(20_000, 1)


def test_gates_open_with_their_probability_and_are_nearly_hard_when_cold():
    gates = sampled_gates(OPENING, 0.05, torch.Generator().manual_seed(0))

    assert torch.allclose((gates > 0.5).float().mean(0), torch.sigmoid(OPENING[0]), atol=0.01)
    assert float(((gates < 0.05) | (gates > 0.95)).float().mean()) > 0.9


def test_hot_gates_are_soft():
    gates = sampled_gates(OPENING, 1.0, torch.Generator().manual_seed(0))

    assert float(((gates > 0.1) & (gates < 0.9)).float().mean()) > 0.5


def test_a_gate_that_the_loss_wants_open_opens():
    opening = torch.zeros(1, requires_grad=True)
    gates = sampled_gates(opening.expand(256, 1), 0.5, torch.Generator().manual_seed(0))

    gates.sum().backward()

    assert float(opening.grad) > 0


def test_the_divergence_is_that_of_bernoulli_distributions():
    expected = kl_divergence(Bernoulli(logits=OPENING[:1]), Bernoulli(torch.tensor(0.1))).sum(1)

    assert torch.allclose(divergence(OPENING[:1], 0.1), expected, atol=1e-6)


def test_it_is_zero_where_every_gate_opens_as_often_as_wanted():
    opening = torch.logit(torch.full((2, 5), 0.3))

    assert divergence(opening, 0.3).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
