"""Heads on scores that are never a table: the same optimum as in memory and as scikit-learn's, for blocks of any size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from cbm.errors import DataError
from cbm.linear_scores import LinearScores, head_logits
from cbm.newton import scores as layouts
from cbm.solvers import Solution, at_nec, elastic_net_objective, elastic_net_path, fit_elastic_net


def planted(n=150, d=10, k=20, c=4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embeddings far from the origin, concepts, offsets, and labels that follow a few of the concepts."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=g, dtype=torch.float64) + 3
    weight = torch.randn(k, d, generator=g, dtype=torch.float64)
    bias = torch.randn(k, generator=g, dtype=torch.float64)
    logits = (x - 3) @ weight[:c].T + torch.randn(n, c, generator=g, dtype=torch.float64)
    return x, weight, bias, logits.argmax(1)


def same(a: Solution, b: Solution) -> bool:
    """Whether two heads agree to a millionth and use the same concepts."""
    assert a.converged
    assert b.converged
    assert a.weight == pytest.approx(b.weight, abs=1e-6)
    assert a.bias == pytest.approx(b.bias, abs=1e-5)
    assert a.objective == pytest.approx(b.objective, rel=1e-9)
    return torch.equal(a.weight != 0, b.weight != 0)


@pytest.mark.parametrize("loss", ["multinomial", "one-vs-rest"])
@pytest.mark.parametrize("rows", [1, 7, 150])
def test_blocks_of_any_size_lead_to_the_head_of_the_whole_table(loss, rows):
    x, weight, bias, y = planted()

    table = fit_elastic_net(x @ weight.T + bias, y, 4, lam=0.01, loss=loss, tolerance=1e-11)
    blocks = fit_elastic_net(LinearScores(x, weight, bias, rows=rows), y, 4, lam=0.01, loss=loss, tolerance=1e-11)

    assert same(table, blocks)


@pytest.mark.parametrize("room", [0, 13])
def test_what_does_not_fit_is_computed_again(room, monkeypatch):
    x, weight, bias, y = planted()
    monkeypatch.setattr(layouts, "HELD_NUMBERS", room * len(x))

    table = fit_elastic_net(x @ weight.T + bias, y, 4, lam=0.01, tolerance=1e-11)
    blocks = fit_elastic_net(LinearScores(x, weight, bias, rows=40), y, 4, lam=0.01, tolerance=1e-11)

    assert same(table, blocks)


def test_the_lasso_is_scikit_learns():
    x, weight, bias, y = planted(k=8, c=3)
    s = (x - x.mean(0)) @ weight.T  # centred, or saga would not arrive

    ours = fit_elastic_net(LinearScores(x, weight, bias, rows=50), y, 3, lam=0.02, alpha=1.0, tolerance=1e-7)

    model = LogisticRegression(solver="saga", l1_ratio=1.0, C=1 / (0.02 * len(y)), tol=1e-6, max_iter=10_000)
    model.fit(s.numpy(), y.numpy())
    theirs, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    assert ours.objective == pytest.approx(elastic_net_objective(s, y, theirs, bias, lam=0.02, alpha=1.0), rel=1e-5)
    assert torch.equal(ours.weight.abs() > 1e-4, theirs.abs() > 1e-4)
    assert ours.weight == pytest.approx(theirs, abs=1e-3)


def test_half_precision_on_disk_leads_to_the_head_of_the_rounded_embeddings(tmp_path: Path):
    x, weight, bias, y = planted()
    file = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float16, shape=tuple(x.shape))
    file[:] = x.numpy()
    stored = torch.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="c"))

    table = fit_elastic_net(stored.double() @ weight.T + bias, y, 4, lam=0.01, tolerance=1e-11)
    blocks = fit_elastic_net(LinearScores(stored, weight, bias, rows=31), y, 4, lam=0.01, tolerance=1e-11)
    single = fit_elastic_net(LinearScores(stored, weight.float(), bias.float()), y, 4, lam=0.01, tolerance=1e-4)

    assert same(table, blocks)
    assert single.objective == pytest.approx(table.objective, rel=2e-4)


def test_a_path_and_its_cuts_are_those_of_the_table():
    x, weight, bias, y = planted(n=200)
    factors, held = LinearScores(x[:150], weight, bias, rows=100), LinearScores(x[150:], weight, bias)
    s, y, checked = x @ weight.T + bias, y[:150], y[150:]

    path = elastic_net_path(factors, y, 4, lams=(0.1, 0.03, 0.01), tolerance=1e-6)
    of_table = elastic_net_path(s[:150], y, 4, lams=(0.1, 0.03, 0.01), tolerance=1e-6)

    assert len(path) == len(of_table)
    for refit in (True, False):
        head = at_nec(path, 3, factors, y, refit=refit, validation=(held, checked))
        expected = at_nec(of_table, 3, s[:150], y, refit=refit, validation=(s[150:], checked))
        assert torch.equal(head.weight != 0, expected.weight != 0)
        assert head.weight == pytest.approx(expected.weight, abs=1e-5)
        assert head.accuracy(held, checked) == expected.accuracy(s[150:], checked)


def test_logits_are_those_of_the_table():
    x, weight, bias, _ = planted()
    head, offset = torch.randn(4, 20, dtype=torch.float64), torch.randn(4, dtype=torch.float64)

    logits = head_logits(LinearScores(x, weight, bias, rows=7), head, offset)

    assert logits == pytest.approx(head_logits(x @ weight.T + bias, head, offset))


def test_embeddings_that_are_not_finite_are_refused():
    x, weight, bias, y = planted()
    x[3, 5] = torch.inf

    with pytest.raises(DataError, match="1 of 150 images"):
        fit_elastic_net(LinearScores(x, weight, bias), y, 4, lam=0.01)
