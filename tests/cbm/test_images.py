import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cbm.images import MAX_PIXELS, UnreadableImage, inspect_image, open_image, open_mask, thumbnail_jpeg

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(size=(64, 48), channels=3):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(values)


def png_header(width, height):
    """A PNG that announces a size and has almost no data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_every_allowed_format_opens_as_rgb_of_the_same_size(form):
    image = open_image(encoded(Image.new("RGB", (20, 10), RED), form))

    assert (image.mode, image.size) == ("RGB", (20, 10))
    assert np.abs(np.asarray(image, dtype=int) - RED).max() <= 2  # JPEG and WebP round


def test_a_gif_is_refused_even_when_it_is_called_png(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(Image.new("L", (4, 4)), "GIF"))

    with pytest.raises(UnreadableImage, match="not a JPEG, PNG, WebP, TIFF or BMP") as caught:
        open_image(path)

    assert caught.value.fault == "unreadable"


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (1, 0)), (3, (1, 2)), (4, (0, 2)), (5, (0, 0)), (6, (1, 0)), (7, (1, 2)), (8, (0, 2))],
)
def test_the_marked_corner_lands_where_exif_says(orientation, corner):
    """The stored top-left pixel, in a picture shown two wide and three high."""
    stored = (2, 3) if orientation < 5 else (3, 2)
    image = Image.new("RGB", stored, BLUE)
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation

    data = encoded(image, "PNG", exif=exif)

    upright = open_image(data)
    assert upright.size == (2, 3)
    assert upright.getpixel(corner) == RED
    facts = inspect_image(data)
    assert (facts.width, facts.height, facts.rotated) == (2, 3, orientation != 1)


def test_a_damaged_exif_block_leaves_the_picture_usable():
    data = encoded(Image.new("RGB", (8, 8), RED), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 20)

    assert open_image(data).getpixel((0, 0)) == RED


def test_transparency_is_laid_over_white():
    layer = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    layer.putpixel((1, 0), (0, 0, 0, 0))

    image = open_image(encoded(layer))

    assert [image.getpixel((x, 0)) for x in (0, 1)] == [RED, (255, 255, 255)]


def test_grey_with_alpha_is_laid_over_white():
    image = open_image(encoded(Image.new("LA", (1, 1), (0, 0))))

    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_palette_with_a_transparent_entry_shows_its_colours():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)

    image = open_image(encoded(palette, transparency=b"\xff\x00"))

    assert [image.getpixel((x, 0)) for x in (0, 1)] == [RED, (255, 255, 255)]


def test_sixteen_bits_keep_their_upper_eight():
    values = np.array([[0, 0x1234, 0xFFFF]], dtype=np.uint16)

    image = open_image(encoded(Image.fromarray(values)))

    assert [image.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (0x12,) * 3, (255, 255, 255)]


def test_floating_point_between_zero_and_one_spans_black_to_white():
    values = np.array([[0.0, 0.2, 1.0, np.nan]], dtype=np.float32)

    image = open_image(encoded(Image.fromarray(values), "TIFF"))

    assert [image.getpixel((x, 0))[0] for x in range(4)] == [0, 51, 255, 0]


@pytest.mark.parametrize("values", [[-2.0, 0.5, 3.0], [0.0, 5e37, 1e38], [-3.4e38, 0.0, 3.4e38]])
def test_floating_point_in_no_usual_range_is_stretched(values):
    image = open_image(encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF"))

    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_cmyk_without_ink_is_white():
    image = open_image(encoded(Image.new("CMYK", (4, 4)), "JPEG"))

    assert image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("look", [open_image, inspect_image])
def test_a_file_cut_in_half_is_not_accepted(form, look):
    data = encoded(noise(), form)

    with pytest.raises(UnreadableImage) as caught:
        look(data[: len(data) // 2])

    assert caught.value.fault in {"truncated", "unreadable"}  # the readers of WebP and TIFF do not tell the reason


def test_four_hundred_megapixels_are_refused_from_the_header():
    with pytest.raises(
        UnreadableImage, match="announces 20000 x 20000 = 400000000 pixels; the limit is 50 million"
    ) as caught:
        open_image(png_header(20_000, 20_000))

    assert caught.value.fault == "too_large"


def test_a_tiff_that_announces_more_than_pillow_allows_is_too_large_as_well():
    data = encoded(Image.new("1", (1, 1)), "TIFF")
    with Image.open(io.BytesIO(data)) as image:
        widths = {tag: image.tag_v2._offset + 2 + 12 * at + 8 for at, tag in enumerate(image.tag_v2)}
    huge = bytearray(data)
    for tag in (256, 257):
        huge[widths[tag] - 6 : widths[tag] + 4] = struct.pack("<HII", 4, 1, 20_000)

    with pytest.raises(UnreadableImage, match="announces 400000000 pixels; the limit is 50 million"):
        open_image(bytes(huge))


def test_the_limit_is_ours_and_below_the_one_of_pillow():
    with pytest.raises(UnreadableImage, match="the limit is 50 million") as caught:
        inspect_image(png_header(10_000, MAX_PIXELS // 10_000 + 1))

    assert caught.value.fault == "too_large"


def test_a_web_page_is_not_a_picture():
    with pytest.raises(UnreadableImage) as caught:
        open_image(b"<!doctype html><title>404</title>")

    assert caught.value.hint


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(UnreadableImage, match="no such file"):
        open_image(tmp_path / "nowhere.png")


def test_a_thumbnail_is_a_jpeg_of_the_asked_size_without_metadata():
    exif = Image.Exif()
    exif[0x010E] = "a name that must not travel"

    data = thumbnail_jpeg(encoded(noise((400, 200)), "JPEG", exif=exif), size=100)

    with Image.open(io.BytesIO(data)) as small:
        assert (small.format, small.size) == ("JPEG", (100, 50))
    assert b"must not travel" not in data


def test_a_thumbnail_leaves_the_given_image_alone():
    image = noise((400, 200))

    thumbnail_jpeg(image, size=50)

    assert image.size == (400, 200)


def test_a_palette_mask_gives_its_indices_and_not_its_colours():
    mask = Image.fromarray(np.array([[0, 3], [7, 0]], dtype=np.uint8)).convert("P")
    mask.putpalette([9, 9, 9] * 256)
    mask.putdata([0, 3, 7, 0])

    assert open_mask(encoded(mask)).tolist() == [[0, 3], [7, 0]]


def test_a_colour_picture_is_not_a_mask():
    with pytest.raises(UnreadableImage, match="no part numbers"):
        open_mask(encoded(Image.new("RGB", (2, 2))))
