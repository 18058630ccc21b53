import csv
import json

import numpy as np
import pytest
from PIL import Image

from assets import rendering
from assets.birds import render_bird, sample_bird, write_birds
from assets.species import CONCEPTS, GROUP_OF, GROUPS, PARTS, PARTS_OF_GROUP, SPECIES

COUNTS = {"train": 60, "shifted": 20}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_birds(tmp_path_factory.mktemp("birds"), counts=COUNTS)


@pytest.fixture(scope="module")
def rows(manifest):
    with manifest.open() as file:
        return list(csv.DictReader(file))


def sampled(split, count=2000):
    generators = (np.random.default_rng([7, number]) for number in range(count))
    return [sample_bird(SPECIES[number % 20], split, rng) for number, rng in enumerate(generators)]


def own_background_share(birds):
    habitat = {species.name: species.habitat for species in SPECIES}
    return np.mean([bird.traits["background"].startswith(habitat[bird.species]) for bird in birds])


def test_same_seed_gives_the_same_bytes(manifest, tmp_path):
    again = write_birds(tmp_path, counts=COUNTS)

    for file in sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()):
        assert (manifest.parent / file).read_bytes() == (again.parent / file).read_bytes()


def test_another_seed_gives_other_pictures(manifest, tmp_path):
    other = write_birds(tmp_path, counts={"train": 1}, seed=1)

    name = "images/train/000000.png"
    assert (manifest.parent / name).read_bytes() != (other.parent / name).read_bytes()


def test_a_picture_does_not_depend_on_how_many_are_rendered(manifest, tmp_path):
    few = write_birds(tmp_path, counts={"train": 3})

    name = "images/train/000002.png"
    assert (manifest.parent / name).read_bytes() == (few.parent / name).read_bytes()


def test_manifest_has_a_row_and_two_files_for_every_picture(manifest, rows):
    assert [row["split"] for row in rows] == ["train"] * 60 + ["shifted"] * 20
    assert list(rows[0]) == ["id", "path", "label", "split", "group", "mask_path", *(f"c:{c}" for c in CONCEPTS)]
    for row in rows:
        with (
            Image.open(manifest.parent / row["path"]) as picture,
            Image.open(manifest.parent / row["mask_path"]) as mask,
        ):
            assert (picture.size, picture.mode) == ((128, 128), "RGB")
            assert (mask.size, mask.mode) == ((128, 128), "L")


def test_exactly_one_concept_of_each_group_is_true(rows):
    for row in rows:
        for group, values in GROUPS.items():
            assert sum(int(row[f"c:{value}"]) for value in values) == 1, group


def test_classes_are_balanced(rows):
    train = [row["label"] for row in rows if row["split"] == "train"]

    assert {train.count(species.name) for species in SPECIES} == {3}


def test_background_goes_with_the_species_except_where_swapped():
    # 2,000 draws: three standard errors of a share of 0.95 are 0.015
    assert own_background_share(sampled("train")) == pytest.approx(0.95, abs=0.015)
    assert own_background_share(sampled("shifted")) == pytest.approx(0.05, abs=0.015)


def test_group_names_species_habitat_and_background(rows):
    habitat = {species.name: species.habitat for species in SPECIES}
    for row in rows:
        background = "water" if row["c:water background"] == "1" else "land"
        assert row["group"] == f"{habitat[row['label']]} species on {background}"


def test_traits_of_a_species_are_otherwise_in_five_to_ten_percent():
    birds = sampled("train")
    usual = {species.name: set(species.traits) for species in SPECIES}

    free = [group for group in GROUPS if group not in ("background", "belly colour")]
    kept = np.mean([bird.traits[group] in usual[bird.species] for bird in birds for group in free])

    assert 0.90 < kept < 0.95


def test_belly_follows_breast_even_where_the_breast_is_unusual():
    usual = {species.name: set(species.traits) for species in SPECIES}
    unusual = [bird for bird in sampled("train", 6000) if bird.traits["breast colour"] not in usual[bird.species]]

    same = np.mean([b.traits["breast colour"].split()[0] == b.traits["belly colour"].split()[0] for b in unusual])

    assert len(unusual) > 300
    assert same == pytest.approx(0.92, abs=0.05)


def test_look_alikes_differ_in_one_or_two_traits_and_in_habitat():
    for water, land in zip(SPECIES[::2], SPECIES[1::2], strict=True):
        assert (water.habitat, land.habitat) == ("water", "land")
        assert sum(a != b for a, b in zip(water.traits, land.traits, strict=True)) in (1, 2)


def test_every_species_is_described_in_the_order_of_the_groups():
    for species in SPECIES:
        assert [GROUP_OF[trait] for trait in species.traits] == [group for group in GROUPS if group != "background"]


def test_masks_hold_the_parts_that_concepts_claim():
    for number, bird in enumerate(sampled("train", 60)):
        _, mask = render_bird(bird, np.random.default_rng(number))
        shown = {PARTS[label] for label in np.unique(mask)}
        for group, concept in bird.traits.items():
            assert shown & set(PARTS_OF_GROUP[group]), concept
        assert ("crest" in shown) == (bird.traits["crest"] == "tall crest")


def test_a_part_shows_its_colour_where_the_mask_says():
    reds, others = [], []
    for number, bird in enumerate(sampled("train", 120)):
        picture, mask = render_bird(bird, np.random.default_rng(number))
        r, g, b = picture[mask == PARTS.index("crown")].mean(axis=0)
        (reds if bird.traits["crown colour"] == "red crown" else others).append(r - max(g, b))

    assert min(reds) > max(others)


def test_a_finished_folder_is_left_alone(manifest):
    before = {path: path.stat().st_mtime_ns for path in manifest.parent.rglob("*")}

    write_birds(manifest.parent, counts=COUNTS)

    assert {path: path.stat().st_mtime_ns for path in manifest.parent.rglob("*")} == before


def test_an_interrupted_folder_is_continued(manifest, tmp_path):
    class Stop(Exception):
        pass

    def stop_in_the_middle(fraction, message):
        if fraction > 0.4:
            raise Stop

    with pytest.raises(Stop):
        write_birds(tmp_path, counts=COUNTS, on_progress=stop_in_the_middle)
    first = tmp_path / "images/train/000000.png"
    made = first.stat().st_mtime_ns
    assert not (tmp_path / "manifest.csv").exists()

    finished = write_birds(tmp_path, counts=COUNTS)

    assert first.stat().st_mtime_ns == made
    assert finished.read_bytes() == manifest.read_bytes()


def test_two_processes_make_the_same_pictures_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "_WORTH_A_SECOND_PROCESS", 60)
    both = write_birds(tmp_path / "both", counts={"train": 60})
    one = write_birds(tmp_path / "one", counts={"train": 59})

    for number in (0, 30, 58):
        name = f"images/train/{number:06d}.png"
        assert (both.parent / name).read_bytes() == (one.parent / name).read_bytes()
    assert not list(both.parent.rglob("*.tmp"))


def test_truth_names_the_spurious_concepts_and_the_parts(manifest):
    truth = json.loads((manifest.parent / "truth.json").read_text())

    assert truth["spurious"] == ["water background", "land background"]
    assert truth["concepts"]["hooked bill"] == {"group": "bill shape", "parts": ["bill"]}
    assert len(truth["species"]) == 20
    assert len(truth["concepts"]) == len(CONCEPTS) == 56
