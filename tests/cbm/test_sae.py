"""Sparse autoencoders against the published code's arrays, against autograd, and against what is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import linear, normalize

from cbm.sae import KINDS, Dictionary, activate, calibrated, gate, measure
from cbm.sae_gradients import gradients, losses
from cbm.sae_steps import SaeConfig, Training, draw_chances, first_guess, new_encoder_rows

PUBLISHED = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[1] / "reference" / "sae.npz").items()
}
X = PUBLISHED["x"][:, 0]
D = X.shape[1]
LAM = float(PUBLISHED["l1_coeff"]) * D  # the published penalty is d times ours: its squared error is a mean over d


def published(stage: str) -> Dictionary:
    encoder, bias = PUBLISHED[f"{stage}/encoder._weight"][0], PUBLISHED[f"{stage}/encoder._bias"][0]
    return Dictionary(encoder, bias, PUBLISHED[f"{stage}/decoder._weight"][0].T, PUBLISHED[f"{stage}/tied_bias"][0])


def random_dictionary(kind: str, h: int = 40, d: int = 12, k: int = 4) -> Dictionary:
    g = torch.Generator().manual_seed(3)
    draw = [torch.randn(*shape, generator=g) for shape in ((h, d), (h,), (h, d), (d,))]
    return Dictionary(draw[0], 0.1 * draw[1], normalize(draw[2], dim=1), 0.1 * draw[3], kind, k)


def test_codes_and_reconstructions_are_the_published_ones():
    dictionary = published("init")

    codes = dictionary.encode(X)

    assert (codes - PUBLISHED["learned"][:, 0]).abs().max() < 1e-6
    assert (dictionary.decode(codes) - PUBLISHED["decoded"][:, 0]).abs().max() < 1e-6


def test_the_published_loss_is_ours_divided_by_the_features_over_which_it_takes_a_mean():
    found = losses(published("init"), X, l1=LAM)

    assert (found / D - PUBLISHED["loss_per_item"][:, 0]).abs().max() < 1e-6


def test_gradients_are_the_published_ones():
    found = gradients(published("init"), X, l1=LAM)

    for ours, theirs in (("encoder", "encoder._weight"), ("bias", "encoder._bias"), ("centre", "tied_bias")):
        assert (getattr(found, ours) / D - PUBLISHED[f"grad/{theirs}"][0]).abs().max() < 1e-6
    assert (found.decoder / D - PUBLISHED["grad/decoder._weight"][0].T).abs().max() < 1e-6
    assert (found.decoder * published("init").decoder).sum(1).abs().max() < 1e-6


def test_twenty_steps_lead_where_the_published_ones_lead():
    config = SaeConfig(kind="relu", l1=LAM, rate=float(PUBLISHED["lr"]))
    training = Training(published("init"), config, epsilon=1e-8 * D)

    curve = [float(training.step(X).losses.mean()) / D for _ in range(20)]

    wanted = published("after20")
    assert curve == pytest.approx(PUBLISHED["train_curve_20_steps"].tolist(), abs=1e-5)
    for name in ("encoder", "bias", "decoder", "centre"):
        assert (getattr(training.dictionary, name) - getattr(wanted, name)).abs().max() < 1e-5


def test_dead_atoms_are_drawn_as_published():
    assert (
        draw_chances(PUBLISHED["resample/errors"][:, 0]) - PUBLISHED["resample/probabilities"][:, 0]
    ).abs().max() < 1e-6

    alive = PUBLISHED["resample/activity"] > 0
    rows = new_encoder_rows(published("after20").encoder, alive, PUBLISHED["resample/picked_inputs"], share=0.2)

    assert (rows - PUBLISHED["resample/new_encoder_rows"]).abs().max() < 1e-6


def test_the_encoder_does_not_start_ninety_times_too_small():
    """The published fan-in is `h d`: bound sqrt(6 / (h d)), so rows of length sqrt(2 / h)."""
    config = SaeConfig(width=8192, seed=1)

    start = first_guess(64, config)

    assert torch.allclose(start.encoder.norm(dim=1), torch.ones(8192), atol=1e-5)
    assert (2 / 8192) ** 0.5 * 60 < 1
    assert torch.equal(start.encoder, start.decoder)


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_five_steps_are_those_of_autograd(kind, many):
    start, config = random_dictionary(kind, h=40 if many else 512), SaeConfig(kind=kind, l1=0.1, rate=1e-3)
    if not many:
        start = replace(start, bias=start.bias - 7.5)  # that few codes are left without choosing the largest, too
    x = torch.randn(5, 64, 12, generator=torch.Generator().manual_seed(4))
    training = Training(start, config)
    free = [getattr(start, name).clone().requires_grad_() for name in ("encoder", "bias", "decoder", "centre")]
    adam = torch.optim.Adam(free, lr=1e-3)

    for batch in x:
        training.step(batch)
        adam.zero_grad()
        encoder, bias, decoder, centre = free
        codes = activate(linear(batch - centre, encoder, bias), kind, 4)
        loss = (codes @ decoder + centre - batch).square().sum(1) + (0.1 if kind == "relu" else 0) * codes.sum(1)
        loss.mean().backward()
        decoder.grad -= decoder.detach() * (decoder.detach() * decoder.grad).sum(1, keepdim=True)
        adam.step()
        with torch.no_grad():
            decoder.copy_(normalize(decoder, dim=1))

    for name, weight in zip(("encoder", "bias", "decoder", "centre"), free, strict=True):
        assert (getattr(training.dictionary, name) - weight).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_uses_no_atom_moves_the_centre_only(kind):
    silent = replace(random_dictionary(kind), bias=torch.full((40,), -100.0))
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(4))

    found = gradients(silent, x, l1=0.1)

    assert int(found.used.sum()) == 0
    assert float(found.encoder.abs().max() + found.decoder.abs().max() + found.bias.abs().max()) == 0
    assert torch.allclose(found.centre, 2 * (silent.centre - x.mean(0)), atol=1e-6)


def test_the_k_largest_of_an_image_or_of_a_batch_stay():
    read = torch.tensor([[3.0, 1.0, 2.0], [0.5, 0.1, -1.0]])

    assert activate(read, "relu", 0).tolist() == [[3, 1, 2], [0.5, pytest.approx(0.1), 0]]
    assert activate(read, "topk", 1).tolist() == [[3, 0, 0], [0.5, 0, 0]]
    assert activate(read, "batchtopk", 1).tolist() == [[3, 0, 2], [0, 0, 0]]
    assert activate(-read.abs(), "topk", 2).abs().max() == 0
    assert torch.equal(activate(read, "topk", 9), read.clamp(min=0))


def test_a_code_under_the_threshold_is_none_and_one_above_it_is_not_shortened():
    assert gate(torch.tensor([[0.4, 0.6]]), 0.5).tolist() == [[0, pytest.approx(0.6)]]


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_the_threshold_leaves_k_codes_an_image_on_average(kind):
    dictionary = random_dictionary(kind)
    x = torch.randn(300, 12, generator=torch.Generator().manual_seed(5))

    codes = gate(dictionary.read(x), calibrated(dictionary, x))

    assert float((codes > 0).sum(1).float().mean()) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_an_image_do_not_depend_on_the_others(kind):
    dictionary = replace(random_dictionary(kind), threshold=0.0 if kind == "relu" else 1.5)
    x = torch.randn(30, 12, generator=torch.Generator().manual_seed(5))

    assert torch.allclose(dictionary.encode(x)[7:8], dictionary.encode(x[7:8]), atol=1e-5)


def test_a_dictionary_of_the_axes_explains_everything():
    axes = torch.eye(3)
    x = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 3], [1, 2, 0]])

    fit = measure(Dictionary(axes, torch.zeros(3), axes, torch.zeros(3)), x)

    assert fit.explained == pytest.approx(1)
    assert fit.l0 == 5 / 4
    assert fit.uses.tolist() == [2, 2, 1]
    assert fit.dead == 0


def test_an_atom_that_no_image_uses_is_dead():
    axes = torch.eye(2)

    fit = measure(Dictionary(axes, torch.zeros(2), axes, torch.zeros(2)), torch.tensor([[1.0, -1.0], [2.0, -3.0]]))

    assert fit.dead == 0.5
