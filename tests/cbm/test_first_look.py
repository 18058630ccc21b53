"""The first look against what is read in double precision: nothing that is among the largest is missed."""

import pytest
import torch
from torch import Tensor

from cbm.first_look import promising
from cbm.sae import Dictionary
from cbm.sae_gradients import gradients
from cbm.sparse_codes import Sparse


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CASES = {
    "as embeddings are": (drawn(50, 64) / 8, drawn(512, 64, seed=1) / 8, 0.1 * drawn(512, seed=2)),
    "of very different lengths": (drawn(50, 64) * torch.logspace(-3, 3, 50)[:, None], drawn(512, 64), drawn(512)),
    "in a narrow cone": (1 + 1e-3 * drawn(50, 64), 1 + 1e-3 * drawn(512, 64, seed=1), torch.zeros(512)),
    "far below zero": (drawn(50, 64), drawn(512, 64, seed=1), torch.full((512,), -40.0)),
    "just above zero": (1e-4 * drawn(50, 64), drawn(512, 64, seed=1), torch.zeros(512)),
    "under a large bias": (drawn(50, 64), drawn(512, 64, seed=1), 100 + drawn(512, seed=2)),
}


def entries(found: Sparse) -> set[int]:
    return set((found.rows() * found.width + found.columns).tolist())


@pytest.mark.parametrize("case", CASES)
def test_the_largest_of_each_row_are_found(case):
    x, encoder, bias = CASES[case]
    read = x.double() @ encoder.double().T + bias
    best = read.topk(4, dim=1)

    found = promising(x, encoder, bias, "rows", 4)

    wanted = (torch.arange(50)[:, None] * 512 + best.indices)[best.values > 0]
    assert set(wanted.tolist()) <= entries(found)
    assert len(found.values) < 50 * 512 or case == "in a narrow cone"
    close = read[found.rows(), found.columns]
    assert torch.allclose(found.values.double(), close, atol=1e-5 * float(read.abs().max()))


@pytest.mark.parametrize("case", CASES)
def test_the_largest_of_all_are_found(case):
    x, encoder, bias = CASES[case]
    read = (x.double() @ encoder.double().T + bias).flatten()
    best = read.topk(200)

    found = promising(x, encoder, bias, "all", 200)

    assert set(best.indices[best.values > 0].tolist()) <= entries(found)


def test_of_what_is_found_the_largest_are_kept():
    x, encoder, bias = CASES["as embeddings are"]
    read = torch.addmm(bias, x, encoder.T)

    rows, all_ = (promising(x, encoder, bias, among, count) for among, count in (("rows", 4), ("all", 200)))

    assert torch.allclose(
        rows.largest_of_rows(4).values.view(50, 4).sort().values, read.topk(4).values.flip(1), atol=1e-6
    )
    assert torch.allclose(
        all_.largest_of_all(200).values.sort().values, read.flatten().topk(200).values.flip(0), atol=1e-6
    )


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_the_gradient_is_the_one_without_a_first_look(kind, monkeypatch):
    dictionary = Dictionary(
        drawn(8192, 16), 0.1 * drawn(8192), torch.nn.functional.normalize(drawn(8192, 16), dim=1), drawn(16), kind, 8
    )
    x = drawn(128, 16, seed=5)

    looked = gradients(dictionary, x, l1=0.0, room=torch.empty(128, 8192))
    monkeypatch.setattr("cbm.sae_gradients.worth_a_look", lambda *_: False)
    read = gradients(dictionary, x, l1=0.0)

    assert torch.equal(looked.used, read.used)
    for name in ("encoder", "bias", "decoder", "centre"):
        a, b = getattr(looked, name), getattr(read, name)
        assert (a - b).abs().max() < 1e-6 * b.abs().max()


def test_a_gradient_in_halves_points_where_the_whole_one_does():
    dictionary = Dictionary(drawn(300, 32), 0.1 * drawn(300), drawn(300, 32, seed=3) / 32**0.5, drawn(32))
    x = drawn(200, 32, seed=5)

    whole = gradients(dictionary, x, l1=0.1)
    half = gradients(dictionary, x, l1=0.1, precision="bfloat16")

    assert half.losses.sum() == pytest.approx(float(whole.losses.sum()), rel=0.01)
    for name in ("encoder", "bias", "decoder", "centre"):
        a, b = getattr(whole, name).flatten(), getattr(half, name).flatten()
        assert torch.cosine_similarity(a, b, dim=0) > 0.999
        assert b.norm() == pytest.approx(float(a.norm()), rel=0.01)
    assert (half.used - whole.used).abs().max() <= 2
