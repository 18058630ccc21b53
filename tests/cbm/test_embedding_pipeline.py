"""The pipeline of an embedding run: order, overlap, memory that runs out, threads, and what it says of its pace."""

import threading
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from PIL import Image

from cbm import decoding
from cbm.decoding import one_ahead
from cbm.embeddings import EmbeddingStore, computing_threads, embed_images, encode_image
from cbm.errors import Cancelled, EncoderError
from cbm.images import announced_pixels, open_image
from cbm.pace import Pace
from cbm.preprocessing import Preprocessing
from tests.cbm.colours import PLAIN, ColourEncoder, dataset, write_images


def files(store: EmbeddingStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.root.rglob("*.safetensors"))}


@pytest.fixture
def twelve(tmp_path):
    return dataset(write_images(tmp_path / "images", 12))


@dataclass
class Small(ColourEncoder):
    """Has memory for so many images at once."""

    memory: int = 3

    def encode_pixels(self, pixels):
        if len(pixels) > self.memory:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().encode_pixels(pixels)


def test_batches_are_halved_until_they_fit_and_the_shards_say_so(twelve, tmp_path):
    halved, small = EmbeddingStore(tmp_path / "halved"), EmbeddingStore(tmp_path / "small")
    seen = []

    done = embed_images(
        twelve, Small(), halved, batch_size=8, shard_size=8, on_progress=lambda *told: seen.append(told[0])
    )
    embed_images(twelve, ColourEncoder(), small, batch_size=2, shard_size=8)

    assert done.computed == 12
    assert files(halved) == files(small)  # as if it had been asked for batches of 2
    assert seen == pytest.approx([0, *(n / 12 for n in (2, 4, 6, 8, 10, 12))])


def test_memory_that_runs_out_later_costs_one_shard_and_keeps_the_earlier_ones(twelve, tmp_path):
    @dataclass
    class Shrinking(ColourEncoder):
        def encode_pixels(self, pixels):
            if len(pixels) > 2 and len(self.batches) >= 3:  # another process takes memory after three batches
                raise RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)")
            return super().encode_pixels(pixels)

    encoder, store = Shrinking(), EmbeddingStore(tmp_path / "store")
    seen = []

    embed_images(twelve, encoder, store, batch_size=3, shard_size=6, on_progress=lambda *told: seen.append(told[0]))

    assert encoder.batches == [3, 3, 3, 1, 1, 1, 1, 1, 1]  # the second shard, which had one batch of three, again
    assert [round(12 * fraction) for fraction in seen] == [0, 3, 6, 9, 7, 8, 9, 10, 11, 12]
    assert len(files(store)) == 2
    np.testing.assert_allclose(
        store.matrix("c" * 64, twelve.hashes),
        torch.nn.functional.normalize(torch.tensor([[n, 255 - n, 17.0] for n in range(12)]), dim=1),
        atol=5e-4,
    )


def test_too_little_memory_for_one_image_is_an_error_and_other_errors_stay_what_they_are(twelve, tmp_path):
    with pytest.raises(EncoderError, match="one image at once is too much memory"):
        embed_images(twelve, Small(memory=0), EmbeddingStore(tmp_path / "none"), batch_size=4)

    @dataclass
    class Broken(ColourEncoder):
        def encode_pixels(self, pixels):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        embed_images(twelve, Broken(), EmbeddingStore(tmp_path / "broken"), batch_size=4)


def test_images_of_the_next_batch_are_decoded_while_the_encoder_works(twelve, tmp_path, monkeypatch):
    """The encoder waits, in its first batch, for the first image of the second: without overlap it would wait forever."""
    decoded = {image: threading.Event() for image in twelve.hashes}
    decode = decoding.decode

    def noted(image, path, preprocessing):
        frame = decode(image, path, preprocessing)
        decoded[image].set()
        return frame

    @dataclass
    class Waiting(ColourEncoder):
        overlapped: list[bool] = field(default_factory=list)

        def encode_pixels(self, pixels):
            coming = twelve.hashes[min(11, 4 * (len(self.overlapped) + 1))]
            self.overlapped.append(decoded[coming].wait(timeout=20))
            return super().encode_pixels(pixels)

    monkeypatch.setattr(decoding, "decode", noted)
    encoder = Waiting()

    embed_images(twelve, encoder, EmbeddingStore(tmp_path), batch_size=4)

    assert encoder.overlapped == [True, True, True]


def test_no_more_images_wait_in_memory_than_two_batches_and_what_is_being_staged(twelve, tmp_path, monkeypatch):
    started, decode = [], decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *given: (started.append(given[0]), decode(*given))[1])

    @dataclass
    class Counting(ColourEncoder):
        ahead: list[int] = field(default_factory=list)

        def encode_pixels(self, pixels):
            self.ahead.append(len(started) - 2 * len(self.ahead))
            return super().encode_pixels(pixels)

    encoder = Counting()
    embed_images(twelve, encoder, EmbeddingStore(tmp_path), batch_size=2, decoders=8)

    assert max(encoder.ahead) <= 2 + 2 + 2 * 2  # this batch, the staged one, and two that are decoded


def test_the_number_of_decoders_changes_no_byte(twelve, tmp_path):
    one, many = EmbeddingStore(tmp_path / "one"), EmbeddingStore(tmp_path / "many")

    embed_images(twelve, ColourEncoder(), one, batch_size=5, decoders=1)
    embed_images(twelve, ColourEncoder(), many, batch_size=5, decoders=7)

    assert files(one) == files(many)


def test_the_threads_are_part_of_a_shards_recipe_and_are_given_back(twelve, tmp_path):
    one, two = EmbeddingStore(tmp_path / "one"), EmbeddingStore(tmp_path / "two")
    before = torch.get_num_threads()

    embed_images(twelve, ColourEncoder(), one, threads=1)
    embed_images(twelve, ColourEncoder(), two, threads=2)

    assert torch.get_num_threads() == before
    assert files(one).keys().isdisjoint(files(two))  # other sums may have another last bit
    with pytest.raises(ValueError, match="x"), computing_threads(2):
        raise ValueError("x")
    assert torch.get_num_threads() == before


def test_cancelling_ends_the_threads(twelve, tmp_path):
    def stop(fraction, message):
        if fraction:
            raise Cancelled

    with pytest.raises(Cancelled):
        embed_images(twelve, ColourEncoder(), EmbeddingStore(tmp_path), batch_size=2, on_progress=stop)

    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(("decode", "stage"))]
    assert left == []


def test_one_ahead_keeps_the_order_and_passes_errors_on():
    def three():
        yield from (1, 2, 3)
        raise KeyError("four")

    seen = []
    with one_ahead(three()) as items, pytest.raises(KeyError, match="four"):
        seen.extend(items)
    with one_ahead(iter(())) as items:
        assert list(items) == []
    assert seen == [1, 2, 3]


def test_large_pictures_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "LARGE", 20)  # the pictures have 30 pixels
    data = dataset(write_images(tmp_path / "images", 12))
    at_once, most, lock = [0], [0], threading.Lock()

    @dataclass(frozen=True)
    class Watched(Preprocessing):
        def __call__(self, image):
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            frame = super().__call__(image)
            with lock:
                at_once[0] -= 1
            return frame

    watched = Watched(size=(4, 4), mean=PLAIN.mean, std=PLAIN.std)
    done = embed_images(data, ColourEncoder(preprocessing=watched), EmbeddingStore(tmp_path / "s"), decoders=8)

    assert (done.computed, most[0]) == (12, 1)
    assert announced_pixels(data.paths[0].read_bytes()) == 30
    assert announced_pixels(b"not a picture") == 0


def test_the_pace_is_that_of_the_last_seconds_and_starts_again_when_work_is_redone():
    now, told = [0.0], []
    pace = Pace(1000, lambda fraction, message: told.append(message), clock=lambda: now[0])
    for _ in range(10):  # ten a second for ten seconds
        now[0] += 1
        pace.at(int(10 * now[0]))
    for step in range(40):  # then one a second
        now[0] += 1
        pace.at(101 + step)
    slow = told[-1]
    now[0] += 1
    pace.at(100)

    assert told[0] == "1,000 images to embed"
    assert told[10] == "embedded 100 of 1,000 images, 10 images/s, 90 s left"
    assert slow == "embedded 140 of 1,000 images, 1 images/s, 14 min left"
    assert told[-1] == "embedded 100 of 1,000 images, 0 images/s"


def noise(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (5 + c)) + np.cos(columns / (7 + c)) for c in range(3)]
    return Image.fromarray((np.stack(waves, -1) * 60 + 127).astype(np.uint8))


@pytest.mark.parametrize("shape", [(1600, 1200), (333, 501), (60, 2000)])
def test_fast_decode_is_close_smaller_and_told_apart(tmp_path, shape):
    path = tmp_path / "large.jpg"
    noise(*shape).save(path, quality=90)
    plain = Preprocessing(size=(64, 64), resize=80)
    fast = replace(plain, fast_decode=True)

    small = fast.read(path)
    difference = np.abs(fast(small) - plain(plain.read(path)))

    assert min(small.size) >= min(160, *shape)  # twice the 80 that it is resized to, if there are so many
    assert small.width * small.height <= shape[0] * shape[1] / (3.9 if min(shape) >= 320 else 1)
    assert difference.mean() < 0.06  # of a deviation, on waves finer than photographs have
    assert plain.difference(fast) == "fast_decode False, not True"
    assert "fast_decode" not in plain.to_dict()
    assert Preprocessing.from_dict(fast.to_dict()) == fast


def test_fast_decode_turns_a_picture_upright_and_reads_what_is_no_jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = noise(1200, 900)
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    picture.save(tmp_path / "whole.png")

    assert open_image(tmp_path / "turned.jpg", short_side=200).size == (225, 300)
    assert open_image(tmp_path / "whole.png", short_side=200).size == (1200, 900)


def test_one_picture_is_decoded_as_its_encoder_decodes_all(tmp_path):
    path = tmp_path / "large.jpg"
    noise(1600, 1200).save(path)
    fast = ColourEncoder(preprocessing=replace(PLAIN, fast_decode=True))

    assert not torch.equal(encode_image(fast, path), encode_image(fast, open_image(path)))
