"""Both layers of a Sparse-CBM learn, gates find what is informative, and the penalty makes weights zero."""

import pytest
import torch

from cbm.sparse_training import Schedule, train_gated, train_mixed

SHORT = Schedule(epochs=1, batch=64, rate=1e-2)


@pytest.fixture(scope="module")
def scores():
    """Two classes, told apart by the first of six scores only: it is high, 3, on images of the second class."""
    g = torch.Generator().manual_seed(0)
    psi = torch.randn(400, 6, generator=g)
    y = torch.arange(400) % 2
    psi[:, 0] += 3.0 * y
    return psi, y


def gated(psi, y, **options):
    chosen = {"reads": "own", "strength": 0.02, "active": 0.1, "tau": 0.1, **options}
    return train_gated(psi, y, 2, schedule=Schedule(60, 64, 2e-2), **chosen)


@pytest.mark.parametrize("loss", ["l1", "contrastive", "similarity", "dense", "paper_diagonal", "reference_mean"])
def test_the_final_layer_moves(scores, loss):
    """In the published trainer it does not: it is in no optimiser, and has moved by 0.0 after a step."""
    psi, y = scores
    positive = torch.tensor([[False] * 6, [True] + [False] * 5])

    found = train_mixed(psi, y, 2, loss, strength=0.1, positive=positive, schedule=SHORT)

    assert float(found.weight.abs().max()) > 0.01
    assert torch.equal(found.mixing, torch.eye(6)) == (loss == "dense")


def test_gates_close_what_says_nothing_and_open_where_it_matters(scores):
    psi, y = scores

    found = gated(psi, y)

    open_ = (psi @ found.reads.T + found.openings > 0).float()
    assert open_[:, 1:].mean() < 0.1
    assert open_[y == 1, 0].mean() > 0.8
    logits = open_ * psi @ found.weight.T + found.bias
    assert float((logits.argmax(1) == y).float().mean()) > 0.85


def test_a_gate_of_its_own_reads_no_other_score(scores):
    psi, y = scores

    own, all_ = gated(psi, y), gated(psi, y, reads="all")

    assert torch.equal(own.reads, torch.diag(own.reads.diagonal()))
    assert not torch.equal(all_.reads, torch.diag(all_.reads.diagonal()))


def test_the_stronger_the_divergence_counts_the_fewer_gates_are_open(scores):
    psi, y = scores

    def share(strength: float) -> float:
        found = gated(psi, y, strength=strength)
        return float((psi @ found.reads.T + found.openings > 0).float().mean())

    assert share(0.3) < share(1e-4)


def test_the_penalty_makes_most_weights_of_the_mixing_zero(scores):
    psi, y = scores
    schedule = Schedule(epochs=30, batch=64, rate=1e-2)

    weak, strong = (train_mixed(psi, y, 2, "l1", strength=s, schedule=schedule).mixing for s in (0.0, 0.1))

    assert int((weak == 0).sum()) < 10
    assert int((strong == 0).sum()) > 20


def test_training_ends_at_one_and_is_the_same_again(scores):
    psi, y = scores
    seen: list[float] = []

    def train():
        return train_gated(
            psi, y, 2, reads="own", strength=0.01, active=0.1, tau=0.1, schedule=SHORT,
            on_progress=lambda fraction, message: seen.append(fraction),
        )  # fmt: skip

    one, other = train(), train()

    assert torch.equal(one.openings, other.openings)
    assert seen == [1.0, 1.0]
