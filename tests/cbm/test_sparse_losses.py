"""The published losses are the published code's to the last digits, and do not do what they are for; ours do."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cbm.cos_cubed import cos_cubed
from cbm.sparse_losses import contrastive, gumbel_noises, paper_diagonal, reference_mean, unlike

PUBLISHED = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[1] / "reference" / "sparse.npz").items()
}
Z, PSI = PUBLISHED["logits"], PUBLISHED["clip_logits"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def descend(loss, z: torch.Tensor, steps: int = 400) -> torch.Tensor:
    """Scores after lowering a loss of them by plain gradient steps."""
    z = z.clone().requires_grad_(True)
    adam = torch.optim.Adam([z], lr=0.05)
    for _ in range(steps):
        adam.zero_grad()
        loss(z).backward()
        adam.step()
    return z.detach()


def entropy(z: torch.Tensor) -> float:
    """Mean entropy of the rows' softmax."""
    log = z.log_softmax(1)
    return float(-(log.exp() * log).sum(1).mean())


def test_losses_are_those_of_the_published_code():
    assert float(paper_diagonal(Z)) == pytest.approx(float(PUBLISHED["contrastive"]), abs=1e-6)
    assert float(reference_mean(Z, gumbel_noises(Z, seeded(11)))) == pytest.approx(
        float(PUBLISHED["gumbel_soft_seed11"]), abs=1e-6
    )
    assert -float(unlike(Z, PSI)) == pytest.approx(float(PUBLISHED["similarity"]), abs=1e-6)
    assert float(cos_cubed(Z, PSI).mean()) == pytest.approx(float(PUBLISHED["similarity_cubed"]), abs=1e-6)


def test_the_two_layers_and_their_penalty_are_those_of_the_published_code():
    net = {name.removeprefix("net/"): value for name, value in PUBLISHED.items() if name.startswith("net/")}

    psi = net["images"] @ net["projection_w"].T + net["projection_b"]

    assert torch.allclose(psi @ net["cbl"].T, net["cbl_out"], atol=1e-5)
    assert torch.allclose(psi @ net["cbl"].T @ net["head"].T, net["scores"], atol=1e-5)
    assert float(1e-3 * net["cbl"].abs().sum()) == pytest.approx(float(net["l1"]), abs=1e-6)


def test_the_published_pairing_of_images_with_concepts_is_arbitrary():
    shuffled = Z[torch.randperm(len(Z), generator=seeded(0))]

    assert abs(float(paper_diagonal(shuffled)) - float(paper_diagonal(Z))) > 0.1


def test_with_real_positives_the_order_of_the_images_does_not_matter():
    positive = Z.median() < Z
    order = torch.randperm(len(Z), generator=seeded(0))

    assert torch.allclose(contrastive(Z[order], positive[order]), contrastive(Z, positive), atol=1e-6)


def test_with_the_diagonal_for_positives_it_is_the_published_contrastive_loss():
    square = Z[:, :8]

    assert torch.allclose(contrastive(square, torch.eye(8, dtype=torch.bool)), paper_diagonal(square), atol=1e-6)


def test_a_batch_without_a_positive_costs_nothing():
    assert float(contrastive(Z, torch.zeros(Z.shape, dtype=torch.bool))) == 0


def test_minimising_the_published_gumbel_loss_makes_all_concepts_alike():
    noises = tuple(torch.zeros_like(Z) for _ in range(2))

    after = descend(lambda z: reference_mean(z, noises), Z)

    assert entropy(Z) < 1.5
    assert entropy(after) > 0.99 * float(np.log(12))


def test_minimising_ours_tells_positives_from_the_rest():
    positive = torch.zeros(Z.shape, dtype=torch.bool)
    positive[torch.arange(8), torch.arange(8) % 3] = True

    after = descend(lambda z: contrastive(z, positive), Z)

    assert after.argmax(1).tolist() == [i % 3 for i in range(8)]


def test_the_published_gumbel_loss_with_hard_samples_is_infinite_and_cannot_be_learned_by():
    z = Z.clone().requires_grad_(True)

    loss = reference_mean(z, gumbel_noises(z, seeded(0)), hard=True)
    loss.backward()

    assert float(loss.detach()) == float("inf")
    assert not bool(torch.isfinite(z.grad).all())
