"""Cos-cubed against the published values, and where those are wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cbm.cos_cubed import cos_cubed, cos_cubed_table

REFERENCE = Path(__file__).parents[1] / "reference" / "similarity.npz"


@pytest.fixture(scope="module")
def published():
    arrays = np.load(REFERENCE)
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def test_paired_columns_are_the_published_ones(published):
    clip, target = published["clip"], published["target"]

    assert (cos_cubed(target, clip[:, :20]) - published["cos_cubed_single"]).abs().max() < 1e-5


def test_the_published_table_is_no_cosine_where_its_floor_bites(published):
    """On 400 images the published table has 0.63 of the true value; with its floor taken out, the two agree."""
    clip, target = published["clip"].double(), published["target"].double()
    ours = cos_cubed_table(target, clip)

    assert (ours[:, :20].diagonal() - published["cos_cubed_single"]).abs().max() < 1e-5
    lengths = ((clip - clip.mean(0)) ** 3).norm(dim=0)
    assert (ours * (lengths / lengths.clamp_min(1e-3)) - published["cos_cubed"]).abs().max() < 1e-5
    shares = published["cos_cubed"].diagonal() / published["cos_cubed_single"]
    assert shares.median() == pytest.approx(0.63, abs=0.15)


def test_a_constant_column_is_alike_to_nothing():
    """The published paired version gives NaN."""
    a = torch.stack([torch.full((9,), 0.3), torch.arange(9.0)], 1)

    assert cos_cubed(a, a).tolist() == [0.0, pytest.approx(1.0)]


@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_scale_and_offset_do_not_matter(factor):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, 3, generator=generator), torch.randn(50, 3, generator=generator)

    assert torch.allclose(cos_cubed(a * factor, b), cos_cubed(a, b), atol=1e-6)
    assert torch.allclose(cos_cubed(-a, b + 2), -cos_cubed(a, b), atol=1e-5)
