import numpy as np
import pytest
import torch
from PIL import Image

from assets.photo import creatures, looks, materials, photographs, pictures, renders
from assets.photo.pictures import Picture

SVG = "<svg><dc:title>{}</dc:title><rdf:li>{}</rdf:li><rdf:li>animal</rdf:li></svg>"


def saved(file, colour, size=(40, 20)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", size, colour).save(file)
    return file


def test_clip_art_is_called_by_its_title_and_its_keywords(tmp_path):
    for i, (name, title) in enumerate([("a", "Red Fox 02"), ("b", "Clipart by Nobody"), ("c", "red fox")]):
        saved(tmp_path / f"png/animals/{name}.png", "red")
        drawing = tmp_path / f"svg/animals/{name}.svg"
        drawing.parent.mkdir(parents=True, exist_ok=True)
        drawing.write_text(SVG.format(title, f"word{i}" if i else "fox"))
    saved(tmp_path / "png/animals/untold.png", "red")

    found = pictures.openclipart(tmp_path)

    assert [(picture.title, picture.keywords) for picture in found] == [
        ("red fox", ("fox", "animal")),
        ("red fox", ("animal",)),
    ]


def test_a_picture_too_large_to_open_is_left_out(tmp_path):
    file = saved(tmp_path / "png/animals/poster.png", "red", size=(2001, 2000))
    drawing = tmp_path / "svg/animals/poster.svg"
    drawing.parent.mkdir(parents=True)
    drawing.write_text(SVG.format("poster", "big"))

    assert file.is_file()
    assert pictures.openclipart(tmp_path) == []


def test_emoji_of_one_code_point_are_called_by_their_unicode_name(tmp_path):
    for name in ("1f98a", "1f98a-1f3fd", "1f3fd", "1f533"):  # fox, with a skin tone, the tone, a button
        saved(tmp_path / f"{name}.webp", "orange")

    (fox,) = pictures.fluent(tmp_path)

    assert fox.title == "fox face"
    assert np.asarray(fox.open())[128, 128].tolist() == pytest.approx([255, 165, 0], abs=3)
    assert np.asarray(fox.open())[0, 0].tolist() == [255, 255, 255]


def test_a_title_points_to_what_sets_its_pictures_apart():
    shown = [Picture(title, ("pet",) if title != "car" else (), Image.new) for title in ("cat", "dog", "car") * 4]
    spread = 0.1 * torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    features = spread + torch.eye(8)[[0, 1, 2] * 4] + 5  # what all have in common tells nothing

    anchors = pictures.title_anchors(shown, features, 0.5)

    found = dict(zip(anchors.texts, anchors.directions, strict=True))
    assert set(found) == {f"{start}{word}" for word in ("cat", "dog", "car", "pet") for start in ("", "a photo of a ")}
    assert [int(found[word].argmax()) for word in ("cat", "dog", "car")] == [0, 1, 2]
    assert float(found["pet"][2]) < 0 < float(found["pet"][0])
    assert set(anchors.weights.tolist()) == {0.5}


@pytest.mark.parametrize("kind", [renders, materials, creatures], ids=lambda kind: kind.__name__)
def test_renders_can_be_drawn_again_and_differ_by_seed(kind):
    (thing,) = kind.choose(1, 5)

    picture = np.asarray(kind.draw(thing, 3))

    assert picture.shape == (renders.SIZE, renders.SIZE, 3)
    assert kind.choose(1, 5) == [thing]
    assert np.array_equal(picture, np.asarray(kind.draw(thing, 3)))
    assert not np.array_equal(picture, np.asarray(kind.draw(thing, 4)))


def test_every_material_has_a_surface_and_words():
    assert {piece.material for piece in materials.choose(24, 0)} == set(materials.USUAL) == set(looks.MATERIAL_WORDS)
    assert all(materials.draw(materials.Piece(name, "red", "round"), 0) for name in materials.USUAL)


def test_a_creature_shows_the_colour_of_its_back():
    colours = dict.fromkeys(creatures.FORMS["creature"], "white") | {"back": "red", "belly": "red", "wing": "red"}

    picture = np.asarray(creatures.draw(creatures.Creature("creature", colours), 1)).astype(int)

    red, green, blue = picture[100:124, 100:124].mean((0, 1))
    assert red > 2 * max(green, blue)


def test_the_colour_of_a_part_is_told_from_the_same_colour_elsewhere():
    made = creatures.choose(900, 0)
    features = torch.randn(len(made), 6, generator=torch.Generator().manual_seed(0))
    for row, creature in zip(features, made, strict=True):
        row[0] += 6 * (creature.colours.get("head") == "red")
        row[1] += 6 * (creature.colours.get("tail") == "red")

    ways = looks._part_directions(features, made)

    assert ways["red", "head"].abs().argmax() == 0
    assert ways["red", "tail"].abs().argmax() == 1


@pytest.mark.parametrize("name", renders.COLOURS)
def test_pixels_are_named_after_the_colour_that_we_draw(name):
    shares = photographs.colour_shares(Image.new("RGB", (9, 9), renders.COLOURS[name]))

    assert dict(zip(renders.COLOURS, shares.tolist(), strict=True))[name] == 1


def test_only_opaque_pixels_have_a_colour():
    image = Image.new("RGBA", (64, 64), (0, 0, 255, 0))
    image.paste((205, 30, 35, 255), (0, 0, 64, 16))

    shares = dict(zip(renders.COLOURS, photographs.colour_shares(image), strict=True))

    assert (shares["red"], shares["blue"]) == (1, 0)


def test_halves_share_no_photograph_and_no_word(tmp_path):
    captions = {"frog": "A frog.", "cow": "A cow.", "yak": "A yak.", "gnu": "A gnu."}
    for name, caption in captions.items():
        saved(tmp_path / f"animals/{name}.png", "brown").with_suffix(".txt").write_text(caption)
    saved(tmp_path / "animals/cartoon/frog.png", "green").with_suffix(".txt").write_text("A frog.")

    choose, test = (photographs.stamps(tmp_path, half) for half in ("choose", "test"))

    assert {"animals/frog.png"} < set(choose.groups) | {"animals/frog.png"}
    assert set(choose.groups).isdisjoint(test.groups)
    assert set(choose.groups) | set(test.groups) == {f"animals/{name}.png" for name in captions}
    words = [{text for kind, text in album.concepts if kind != "thing colours"} for album in (choose, test)]
    assert words[0].isdisjoint(words[1])


def test_every_other_species_is_for_the_test(tmp_path):
    for name in "abcd":
        saved(tmp_path / f"{name}.png", "red")
    rows = "".join(f"{name}.png,{name} Bird{name},train,{i % 4 // 2},1\n" for i, name in enumerate("abcd"))
    (tmp_path / "manifest.csv").write_text("path,label,split,c:wing color red,c:shape round\n" + rows)

    choose, test = (photographs.birds(tmp_path / "manifest.csv", half) for half in ("choose", "test"))

    assert choose.groups == ("a Birda", "c Birdc")
    assert test.groups == ("b Birdb", "d Birdd")


def test_areas_count_pairs_and_leave_out_what_is_not_known():
    truth = np.array([[1, 0], [0, 0], [1, 0], [0, 0], [np.nan, 0]])
    scores = np.array([[3, 1], [2, 1], [2, 1], [1, 1], [9, 1]], float)

    areas = photographs.areas(truth, scores)

    assert areas[0] == (1 + 1 + 0.5 + 1) / 4
    assert np.isnan(areas[1])
