"""The index finds what a dictionary would find, whatever the hashes; and a wrong one is noticed, never believed."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbm.embedding_index import Index, as_bytes
from cbm.embedding_store import INDEX, WORTH_AN_INDEX, EmbeddingStore, Shard
from cbm.errors import StoreError
from tests.cbm.colours import ColourEncoder

CONTRACT = "c" * 64
# hashes that share their first eight bytes, begin with zeros or end with them
ALIKE = st.sampled_from(
    [a + b for a in ("00" * 8, "ab" * 8, "ff" * 8) for b in ("00" * 24, "00" * 23 + "01", "7f" * 24)]
)


def digest(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def filled(root, shards, rows=2):
    """A store whose embedding of image number i is (i, i, i)."""
    store = EmbeddingStore(root)
    store.register(ColourEncoder())
    for first in range(0, shards * rows, rows):
        images = tuple(digest(number) for number in range(first, first + rows))
        numbers = np.repeat(np.arange(first, first + rows, dtype=np.float16)[:, None], 3, axis=1)
        store.write(CONTRACT, Shard(images, images, numbers, {f"{first:064x}": "too dark"}, "known"))
    return store


@given(st.lists(ALIKE, unique=True), st.lists(ALIKE), st.integers(1, 3))
def test_it_finds_what_a_dictionary_finds(images, wanted, per_shard):
    parts = [images[start : start + per_shard] for start in range(0, len(images), per_shard)]
    index = Index().plus((f"{number}", as_bytes(part), {}) for number, part in enumerate(parts))

    shards, rows = index.find(wanted)

    places = {image: (number, row) for number, part in enumerate(parts) for row, image in enumerate(part)}
    assert list(zip(shards, rows, strict=True)) == [places.get(image, (-1, -1)) for image in wanted]


def test_without_some_shards_the_others_are_found_where_they_are():
    index = Index().plus((f"{n}", as_bytes([digest(2 * n), digest(2 * n + 1)]), {}) for n in range(3))

    left = index.only(frozenset(["0", "2", "later"]))

    assert left.shards == ("0", "2")
    shards, rows = left.find([digest(number) for number in range(6)])
    assert shards.tolist() == [0, 0, -1, -1, 1, 1]
    assert rows.tolist() == [0, 1, -1, -1, 0, 1]


def test_many_shards_get_an_index_that_another_process_opens_instead_of_them(tmp_path, monkeypatch):
    store = filled(tmp_path, WORTH_AN_INDEX)
    asked = [digest(number) for number in (77, 3, 4, 5)]
    expected = store.matrix(CONTRACT, asked)

    monkeypatch.setattr("cbm.embedding_store._Reader", None)
    again = EmbeddingStore(tmp_path)

    assert again.has(CONTRACT, [*asked, digest(-1)]).tolist() == [True] * 4 + [False]
    assert again.skipped(CONTRACT) == {f"{first:064x}": "too dark" for first in range(0, 2 * WORTH_AN_INDEX, 2)}
    assert expected[:, 0].tolist() == [77, 3, 4, 5]


def test_shards_that_come_and_go_after_the_index_was_written_are_noticed(tmp_path):
    store = filled(tmp_path, WORTH_AN_INDEX)
    store.has(CONTRACT, [])
    folder = tmp_path / CONTRACT[:32]
    new = (digest("new"),)
    store.write(CONTRACT, Shard(new, new, np.full((1, 3), 9, np.float16), {}, "known"))
    (folder / named(10)).unlink()

    for opened in (store, EmbeddingStore(tmp_path)):
        assert opened.has(CONTRACT, [digest(9), digest(10), digest(11), *new]).tolist() == [True, False, False, True]
        assert opened.matrix(CONTRACT, new).tolist() == [[9, 9, 9]]


def named(first):
    images = (digest(first), digest(first + 1))
    return Shard(images, images, np.empty((0, 3), np.float16), {}, "known").name


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-9], lambda content: b"\xff" * 99])
def test_an_index_that_is_not_whole_is_made_again(tmp_path, damage):
    filled(tmp_path, WORTH_AN_INDEX).has(CONTRACT, [])
    index = tmp_path / CONTRACT[:32] / INDEX
    whole = index.read_bytes()
    index.write_bytes(damage(whole))

    assert EmbeddingStore(tmp_path).matrix(CONTRACT, [digest(5)]).tolist() == [[5, 5, 5]]
    assert index.read_bytes() == whole


def test_an_index_that_points_to_the_wrong_rows_is_refused(tmp_path):
    filled(tmp_path, WORTH_AN_INDEX).has(CONTRACT, [])
    path = tmp_path / CONTRACT[:32] / INDEX
    right = Index.read(path)
    wrong = Index(right.shards, right.prefix, right.hashes, np.roll(right.places, 1, axis=0), right.skipped)
    path.write_bytes(wrong.to_bytes())

    with pytest.raises(StoreError, match="does not fit") as caught:
        EmbeddingStore(tmp_path).matrix(CONTRACT, [digest(5)])
    assert "delete" in caught.value.hint


def test_a_store_of_another_format_is_neither_read_nor_written(tmp_path):
    store = filled(tmp_path, 1)
    manifest = next(tmp_path.rglob("manifest.json"))
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))

    with pytest.raises(StoreError, match="has format 2, this version reads 1"):
        store.register(ColourEncoder())
    with pytest.raises(StoreError, match="has format 2"):
        store.matrix(CONTRACT, [digest(0)])
