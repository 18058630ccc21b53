import hashlib
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cbm.embeddings import EmbeddingStore, embed, embed_images, encode_image
from cbm.errors import Cancelled, DataError, EncoderError, StoreError
from tests.cbm.colours import ColourEncoder, dataset, write_images


def files(store: EmbeddingStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.root.rglob("*.safetensors"))}


@pytest.fixture
def ten(tmp_path):
    return dataset(write_images(tmp_path / "images", 10))


def test_a_data_set_becomes_its_colours_in_its_own_order(ten, tmp_path):
    training = embed(ten, ColourEncoder(), store=EmbeddingStore(tmp_path / "store"), batch_size=4)

    colours = torch.tensor([[n, 255 - n, 17] for n in range(10)], dtype=torch.float32)
    torch.testing.assert_close(training.x, torch.nn.functional.normalize(colours, dim=1), rtol=0, atol=5e-4)  # fp16
    assert training.labels.tolist() == [0, 1] * 5
    assert training.ids == ten.ids
    assert training.splits.tolist() == ten.splits.tolist()
    assert training.concept_labels[:, 0].tolist() == ten.concept_labels[:, 0].tolist()
    assert (training.encoder_id, training.contract) == ("test:colour", "c" * 64)


def test_without_a_store_the_embeddings_are_the_same(ten, tmp_path):
    stored = embed(ten, ColourEncoder(), store=EmbeddingStore(tmp_path / "store"))

    assert torch.equal(embed(ten, ColourEncoder()).x, stored.x)


def test_an_unchanged_image_is_never_embedded_twice(tmp_path):
    store, encoder = EmbeddingStore(tmp_path / "store"), ColourEncoder()
    first = write_images(tmp_path / "images", 5)
    copy = tmp_path / "copy.png"
    copy.write_bytes(first[0].read_bytes())

    with_duplicate = embed_images(dataset([*first, copy]), encoder, store)
    again = embed_images(dataset(first), encoder, EmbeddingStore(store.root))
    grown = embed_images(dataset(first + write_images(tmp_path / "images", 2, start=5)), encoder, store)

    assert [done.computed for done in (with_duplicate, again, grown)] == [5, 0, 2]
    assert [done.reused for done in (with_duplicate, again, grown)] == [0, 5, 5]
    assert sum(encoder.batches) == 7


def test_another_contract_is_another_folder(ten, tmp_path):
    store, other = EmbeddingStore(tmp_path), ColourEncoder(contract="d" * 64, id="test:other")

    embed_images(ten, ColourEncoder(), store)
    embed_images(ten, other, store)

    assert sum(other.batches) == 10
    assert store.contracts() == {"c" * 64: "test:colour", "d" * 64: "test:other"}
    assert store.preprocessing("c" * 64) == ColourEncoder().preprocessing


def test_a_cancelled_run_keeps_whole_shards_and_resumes_to_the_same_bytes(ten, tmp_path):
    whole, broken_off = EmbeddingStore(tmp_path / "whole"), EmbeddingStore(tmp_path / "broken off")
    embed_images(ten, ColourEncoder(), whole, batch_size=2, shard_size=4)

    def stop_at_half(fraction: float, message: str) -> None:
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        embed_images(ten, ColourEncoder(), broken_off, batch_size=2, shard_size=4, on_progress=stop_at_half)
    assert len(files(broken_off)) == 1
    done = embed_images(ten, ColourEncoder(), broken_off, batch_size=2, shard_size=4)

    assert (done.reused, done.computed) == (4, 6)
    assert files(broken_off) == files(whole)


def embed_and_die(images: str, root: str) -> None:
    """What the killed process of the next test runs."""
    import os

    def die(fraction: float, message: str) -> None:
        if fraction > 0.5:
            os.kill(os.getpid(), signal.SIGKILL)

    paths = sorted(Path(images).glob("*.png"))
    embed_images(dataset(paths), ColourEncoder(), EmbeddingStore(root), batch_size=2, shard_size=4, on_progress=die)


def test_a_killed_process_loses_at_most_one_shard_and_resumes_to_the_same_bytes(ten, tmp_path):
    script = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('here', sys.argv[1]);"
        "here = importlib.util.module_from_spec(spec); sys.modules['here'] = here; spec.loader.exec_module(here);"
        "here.embed_and_die(*sys.argv[2:])"
    )
    killed, whole = EmbeddingStore(tmp_path / "killed"), EmbeddingStore(tmp_path / "whole")

    run = subprocess.run([sys.executable, "-c", script, __file__, str(tmp_path / "images"), str(killed.root)])
    assert run.returncode == -signal.SIGKILL
    assert len(files(killed)) == 1
    embed_images(ten, ColourEncoder(), killed, batch_size=2, shard_size=4)

    embed_images(ten, ColourEncoder(), whole, batch_size=2, shard_size=4)
    assert files(killed) == files(whole)


def test_broken_files_are_reported_and_the_others_embedded(ten, tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    ten.paths[3].write_bytes(b"not a picture")
    ten.paths[5].unlink()
    data = replace(ten, hashes=(*ten.hashes[:3], hashlib.sha256(b"not a picture").hexdigest(), *ten.hashes[4:]))

    done = embed_images(data, ColourEncoder(), store, batch_size=4)
    training = embed(data, ColourEncoder(), store=store)

    assert [image.id for image in done.skipped] == [data.ids[3], data.ids[5]]
    assert all(image.reason for image in done.skipped)
    assert training.ids == tuple(name for i, name in enumerate(data.ids) if i not in (3, 5))


def test_a_file_that_comes_back_is_embedded_later_without_touching_the_others(ten, tmp_path):
    store, content = EmbeddingStore(tmp_path / "store"), ten.paths[5].read_bytes()
    ten.paths[5].unlink()
    embed_images(ten, ColourEncoder(), store)
    before = files(store)
    embed_images(ten, ColourEncoder(), store)
    assert files(store) == before  # failing again is no news

    ten.paths[5].write_bytes(content)
    done = embed_images(ten, ColourEncoder(), store)

    assert (done.computed, done.skipped) == (1, ())
    assert before.items() <= files(store).items()


def test_a_file_that_changed_after_import_is_not_stored_under_its_old_content(ten, tmp_path):
    Image.new("RGB", (6, 5), "white").save(ten.paths[0])

    done = embed_images(ten, ColourEncoder(), EmbeddingStore(tmp_path / "store"))

    assert [image.reason for image in done.skipped] == ["the file has changed since it was imported"]


def test_no_readable_image_at_all_is_an_error(ten):
    for path in ten.paths:
        path.unlink()

    with pytest.raises(DataError, match="none of the 10 images of colours"):
        embed(ten, ColourEncoder())


def test_rows_are_gathered_across_shards_in_the_order_asked_for(ten, tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    embed_images(ten, ColourEncoder(), store, shard_size=3)
    asked = [ten.hashes[i] for i in (9, 0, 4, 0)]

    rows = store.matrix("c" * 64, asked, dtype=np.float16)

    in_order = embed(ten, ColourEncoder(), store=store).x.numpy()
    assert rows.dtype == np.float16
    np.testing.assert_array_equal(rows.astype(np.float32), in_order[[9, 0, 4, 0]])


def test_blocks_are_the_matrix_in_pieces_and_are_refused_as_a_whole(ten, tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    embed_images(ten, ColourEncoder(), store, batch_size=2, shard_size=4)
    asked = [*reversed(ten.hashes), ten.hashes[3]]

    blocks = list(store.blocks("c" * 64, asked, 4))

    assert [len(block) for block in blocks] == [4, 4, 3]
    assert np.array_equal(np.concatenate(blocks), store.matrix("c" * 64, asked))
    with pytest.raises(StoreError, match="1 of 12 images"):
        next(store.blocks("c" * 64, [*asked, "0" * 64], 4))


def test_asking_for_what_is_not_there_says_how_much_is_missing(ten, tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    with pytest.raises(StoreError, match="2 of 2 images are not embedded"):
        store.matrix("c" * 64, ten.hashes[:2])
    with pytest.raises(StoreError, match="nothing was embedded"):
        store.preprocessing("c" * 64)


def test_a_shard_that_was_cut_short_is_named(ten, tmp_path):
    embed_images(ten, ColourEncoder(), EmbeddingStore(tmp_path / "store"))
    shard = next((tmp_path / "store").rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-5])

    with pytest.raises(StoreError, match="cut short") as caught:
        EmbeddingStore(tmp_path / "store").present("c" * 64)
    assert "delete" in caught.value.hint


def test_an_embedding_that_is_not_finite_is_refused_before_it_is_stored(ten, tmp_path):
    @dataclass
    class Overflowing(ColourEncoder):
        def encode_pixels(self, pixels):
            return super().encode_pixels(pixels) * float("inf")

    store = EmbeddingStore(tmp_path / "store")
    with pytest.raises(EncoderError, match="not finite"):
        embed_images(ten, Overflowing(), store)
    assert files(store) == {}


def test_progress_grows_from_nothing_to_one_and_tells_the_speed(ten):
    seen = []
    embed(ten, ColourEncoder(), batch_size=4, on_progress=lambda *step: seen.append(step))

    fractions = [fraction for fraction, _ in seen]
    assert fractions == [0.0, 0.4, 0.8, 1.0]
    assert seen[-1][1].startswith("embedded 10 of 10 images, ")
    assert seen[-1][1].endswith(" images/s, 0 s left")


def test_one_picture_can_be_encoded_from_its_file_or_from_memory(ten):
    from_file = encode_image(ColourEncoder(), ten.paths[2])

    assert from_file.shape == (3,)
    assert torch.equal(from_file, encode_image(ColourEncoder(), ten.image(2)))
    with pytest.raises(DataError):
        encode_image(ColourEncoder(), ten.paths[2].with_name("nothing.png"))
