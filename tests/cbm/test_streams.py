"""Embeddings from disk: the order is mixed, seeded and complete, and what is known of all takes one pass."""

from hashlib import sha256

import numpy as np
import pytest
import torch

from cbm.embedding_store import EmbeddingStore, Shard
from cbm.errors import DataError
from cbm.sae_training import SaeConfig, train_sae
from cbm.streams import PIECE, WINDOW, Scaled, StoredRows, blocks, rows_at, shape_of, shuffled
from tests.cbm.colours import ColourEncoder

X = torch.randn(700, 5, generator=torch.Generator().manual_seed(0)).half()


def on_disk(path, x: torch.Tensor) -> np.memmap:
    x.numpy().tofile(path)
    return np.memmap(path, np.float16, "r", shape=tuple(x.shape))


def in_shards(root, x: torch.Tensor, rows: int) -> StoredRows:
    """The same embeddings in a store, so many a file."""
    store, images = EmbeddingStore(root), [sha256(bytes([i // 256, i % 256])).hexdigest() for i in range(len(x))]
    store.register(ColourEncoder())
    for start in range(0, len(x), rows):
        part = tuple(images[start : start + rows])
        store.write("c" * 64, Shard(part, part, x[start : start + rows].numpy(), {}))
    return StoredRows(store, "c" * 64, images)


@pytest.mark.parametrize(("n", "batch"), [(1, 4), (700, 64), (PIECE * WINDOW * 2 + 77, 1000)])
def test_every_row_comes_once(n, batch):
    found = list(shuffled(n, batch, seed=3))

    assert torch.equal(torch.cat(found).sort().values, torch.arange(n))
    assert {len(rows) for rows in found[:-1]} <= {batch}


def test_the_order_of_few_rows_is_any_order():
    assert torch.equal(
        torch.cat(list(shuffled(700, 64, seed=3))), torch.randperm(700, generator=torch.Generator().manual_seed(3))
    )


def test_the_seed_decides():
    n = PIECE * WINDOW + 1

    once, again, other = (torch.cat(list(shuffled(n, 512, seed))) for seed in (1, 1, 2))

    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_batches_of_many_rows_come_from_everywhere_and_need_one_window():
    n = 10 * PIECE * WINDOW
    found = list(shuffled(n, 2048, seed=0))

    first = found[0]
    assert len(torch.unique(first // PIECE)) > WINDOW // 2  # of sixty-four places, not of one
    assert abs(float(first.double().mean()) / n - 0.5) < 0.15
    window = torch.cat(found[:32])  # 65,536 rows, and no more, have to stay in memory meanwhile
    assert len(torch.unique(window // PIECE)) == WINDOW


def test_a_memory_map_gives_what_the_tensor_gives(tmp_path):
    disk, some = on_disk(tmp_path / "x", X), torch.tensor([5, 0, 699])

    assert torch.equal(rows_at(disk, some), X.float()[some])
    assert torch.equal(torch.cat(list(blocks(disk, 64))), X.float())
    assert shape_of(disk).digest == shape_of(X.float()).digest
    assert torch.equal(Scaled(disk, shape_of(disk)).at(some), Scaled(X, shape_of(X)).at(some))


def test_mean_and_scale_are_those_of_all_rows_together():
    x = X.double()

    found = shape_of(X)

    assert torch.allclose(found.centre.double(), x.mean(0), atol=1e-7)
    assert found.scale == pytest.approx(float((x - x.mean(0)).square().sum(1).mean().sqrt()), rel=1e-12)
    assert shape_of(torch.full((9, 3), 0.1)).scale == 0


def test_a_number_that_is_not_finite_is_named():
    bad = X.clone()
    bad[417, 2] = torch.inf

    with pytest.raises(DataError, match="embedding 417 is not finite"):
        shape_of(bad)


def test_shards_of_any_size_teach_what_one_matrix_teaches(tmp_path):
    x, config = X[:, :3].contiguous(), SaeConfig(width=8, k=2, epochs=2, held=50)

    large, small = in_shards(tmp_path / "large", x, 256), in_shards(tmp_path / "small", x, 37)

    assert large.shape == small.shape == (700, 3)
    wanted = train_sae(x.float(), config)
    for stored in (large, small):
        found = train_sae(stored, config)
        assert found.encoder.equal(wanted.encoder)
        assert found.decoder.equal(wanted.decoder)
        assert found.threshold == wanted.threshold
