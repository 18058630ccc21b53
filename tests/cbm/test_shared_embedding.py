"""Any number of processes write the same embeddings, byte for byte, and go on where others were killed."""

import json

import pytest

from cbm.embeddings import EmbeddingStore, embed_images
from cbm.errors import StoreError
from cbm.process_group import ALONE, Group
from cbm.shared_embedding import embed_shared
from tests.cbm.colours import ColourEncoder, dataset, write_images
from tests.cbm.torchrun import started, torchrun

SIZES = {"batch_size": 2, "shard_size": 4}
NOBODY = -1


def files(store):
    return {path.name: path.read_bytes() for path in sorted(store.root.rglob("*")) if path.is_file()}


@pytest.fixture
def images(tmp_path):
    write_images(tmp_path / "images", 18)
    return tmp_path / "images"


@pytest.fixture
def alone(images, tmp_path):
    """What one process writes: five shards, the last of two images."""
    store = EmbeddingStore(tmp_path / "alone")
    embed_images(dataset(sorted(images.glob("*.png"))), ColourEncoder(), store, **SIZES)
    return store


@pytest.mark.parametrize("shares", [2, 3, 7])
def test_shares_done_one_after_the_other_are_the_whole(images, alone, tmp_path, shares):
    data, store = dataset(sorted(images.glob("*.png"))), EmbeddingStore(tmp_path / "shares")

    parts = [embed_images(data, ColourEncoder(), store, **SIZES, group=Group(k, shares)) for k in range(shares)]

    assert files(store) == files(alone)
    sizes = [4, 4, 4, 4, 2]
    assert [part.computed for part in parts] == [sum(sizes[k::shares]) for k in range(shares)]


def test_shares_of_a_data_set_that_has_grown_are_the_same_too(tmp_path):
    paths = write_images(tmp_path / "images", 18)
    one, two = EmbeddingStore(tmp_path / "one"), EmbeddingStore(tmp_path / "two")
    for store in (one, two):
        embed_images(dataset([*paths[1:4], *paths[9:11]]), ColourEncoder(), store, **SIZES)

    embed_images(dataset(paths), ColourEncoder(), one, **SIZES)
    for k in (1, 0):  # the second share sees what the first has written
        embed_images(dataset(paths), ColourEncoder(), two, **SIZES, group=Group(k, 2))

    assert files(one) == files(two)


def test_alone_it_is_the_same_as_embedding_with_duplicates_and_broken_files(images, tmp_path):
    paths = sorted(images.glob("*.png"))
    data = dataset([*paths, paths[0]])
    paths[5].unlink()
    one, two = EmbeddingStore(tmp_path / "one"), EmbeddingStore(tmp_path / "two")

    shared = embed_shared(data, ColourEncoder(), two, ALONE, **SIZES)

    assert shared == embed_images(data, ColourEncoder(), one, **SIZES)
    assert (shared.computed, [image.id for image in shared.skipped]) == (17, [data.ids[5]])
    assert files(one) == files(two)


def test_two_processes_write_what_one_writes_and_a_second_run_changes_nothing(images, tmp_path):
    (images / "003.png").write_bytes(b"not a picture")
    together, one = EmbeddingStore(tmp_path / "together"), EmbeddingStore(tmp_path / "one")
    data = dataset(sorted(images.glob("*.png")))
    embed_images(data, ColourEncoder(), one, **SIZES)

    first, second = map(json.loads, torchrun("embed", images, together.root, NOBODY, processes=2).splitlines())

    assert first == {"computed": 17, "reused": 0, "skipped": [data.ids[3]]}
    assert second == {"computed": 0, "reused": 17, "skipped": [data.ids[3]]}
    assert files(together) == files(one)


def test_after_one_of_two_was_killed_any_number_of_processes_end_with_the_same_bytes(images, alone, tmp_path):
    store = EmbeddingStore(tmp_path / "together")

    killed = started("tests/cbm/ranks/embed.py", images, store.root, 1, processes=2)
    before = files(store)
    done = embed_images(dataset(sorted(images.glob("*.png"))), ColourEncoder(), store, **SIZES)

    assert killed.returncode != 0
    assert before.items() < files(alone).items()
    assert done.computed + done.reused == 18
    assert files(store) == files(alone)


def test_processes_that_would_make_different_embeddings_refuse_before_they_write(images, tmp_path):
    class Disagreeing(Group):
        def gather(self, value):
            return [value, (*value[:-1], 5)]

    data, store = dataset(sorted(images.glob("*.png"))), EmbeddingStore(tmp_path / "none")
    with pytest.raises(StoreError, match="do not agree"):
        embed_shared(data, ColourEncoder(), store, Disagreeing())
    assert not store.root.exists()
