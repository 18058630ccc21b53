"""Encoders in 8 bits, in bf16 and with fast decoding: ids, contracts, agreement with single precision."""

from dataclasses import replace

import pytest
import torch

from cbm import int8_tower
from cbm.encoder_ids import EncoderId
from cbm.encoders import TextEncoder, load_encoder
from cbm.errors import EncoderError
from cbm.variants import with_fast_decode, with_id
from tests.cbm.colours import ColourEncoder


@pytest.fixture(scope="module")
def plain():
    return load_encoder("builtin:demo")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def short(kept):
    return load_encoder("builtin:demo:int8", keep=kept)


@pytest.fixture(scope="module")
def pixels(plain):
    return torch.randn(4, 3, *plain.preprocessing.size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("id", "parts"),
    [
        ("builtin:demo", ("builtin:demo", "fp32", False)),
        ("hf:a/b@bf16", ("hf:a/b@bf16", "fp32", False)),
        ("open_clip:local-dir:/x:int8", ("open_clip:local-dir:/x", "int8", False)),
        ("timm:r:bf16:fast-decode", ("timm:r", "bf16", True)),
        ("timm:r:fast-decode", ("timm:r", "fp32", True)),
        ("timm:r:fast-decode:bf16", ("timm:r:fast-decode", "bf16", False)),  # in one order only
    ],
)
def test_an_id_says_precision_and_decoding_at_its_end(id, parts):
    assert EncoderId.parse(id) == EncoderId(*parts)
    assert str(EncoderId(*parts)) == id


def test_products_in_8_bits_agree_but_are_not_the_same_space(plain, short, pixels):
    exact, rounded = plain.encode_pixels(pixels), short.encode_pixels(pixels)

    assert (short.id, short.preprocessing.precision) == ("builtin:demo:int8", "int8")
    assert short.contract != plain.contract
    assert float((exact * rounded).sum(1).min()) > 0.999
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded.norm(dim=1), torch.ones(4))
    assert torch.equal(short.encode_texts(["a bird"]), plain.encode_texts(["a bird"]))
    assert plain.preprocessing.difference(short.preprocessing) == "precision fp32, not int8"


def test_the_8_bit_tower_is_kept_and_read_again(short, kept, pixels, monkeypatch):
    first = short.encode_pixels(pixels)
    monkeypatch.setattr(int8_tower, "_in_8_bits", lambda *given: pytest.fail("made again"))

    again = load_encoder("builtin:demo:int8", keep=kept)

    assert torch.equal(again.encode_pixels(pixels), first)
    assert again.contract == short.contract
    assert [file.suffix for file in kept.iterdir()] == [".onnx"]


def test_the_8_bit_tower_gives_the_same_bytes_for_any_number_of_threads(short, pixels):
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(short.encode_pixels(pixels))
    finally:
        torch.set_num_threads(before)

    assert torch.equal(*found)


def test_what_cannot_be_put_into_8_bits_says_why(plain, monkeypatch):
    with pytest.raises(EncoderError, match="made from one in fp32"):
        int8_tower.in_8_bits(load_encoder("builtin:demo", precision="bf16"))
    with pytest.raises(EncoderError, match="no image tower"):
        int8_tower.in_8_bits(ColourEncoder())
    monkeypatch.setattr(int8_tower, "NEEDS", ("onnx", "no_such_package"))
    with pytest.raises(EncoderError) as caught:
        int8_tower.in_8_bits(plain)
    assert "pellucid[onnx]" in caught.value.hint


def test_a_precision_may_be_asked_for_instead_of_the_one_in_the_name():
    brief = load_encoder("builtin:demo:int8", precision="bf16")

    assert brief.id == "builtin:demo:bf16"
    assert next(brief.visual.parameters()).dtype == torch.bfloat16
    assert load_encoder("builtin:demo:bf16").contract == brief.contract
    assert load_encoder("builtin:demo:bf16", precision="fp32").id == "builtin:demo"


def test_fast_decoding_is_another_contract_and_stacks(plain, short):
    fast = load_encoder("builtin:demo:int8:fast-decode")

    assert fast.preprocessing == replace(short.preprocessing, fast_decode=True)
    assert len({fast.contract, short.contract, plain.contract, with_fast_decode(plain).contract}) == 4
    assert isinstance(fast, TextEncoder)
    assert with_id(plain, plain.id) is plain
