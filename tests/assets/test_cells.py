import csv
import json

import numpy as np
import pytest

from assets.cells import CLASSES, CONCEPTS, GROUPS, PARTS, SHIFT, render_cell, sample_cell, usual_traits, write_cells

COUNTS = {"train": 40, "shifted": 10}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_cells(tmp_path_factory.mktemp("cells"), counts=COUNTS)


def cells(count):
    for number in range(count):
        rng = np.random.default_rng([3, number])
        yield sample_cell(CLASSES[number % 5], rng), rng


def test_same_seed_gives_the_same_bytes(manifest, tmp_path):
    again = write_cells(tmp_path, counts=COUNTS)

    for file in sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()):
        assert (manifest.parent / file).read_bytes() == (again.parent / file).read_bytes()


def test_exactly_one_concept_of_each_group_is_true(manifest):
    with manifest.open() as file:
        for row in csv.DictReader(file):
            for group, values in GROUPS.items():
                assert sum(int(row[f"c:{value}"]) for value in values) == 1, group


def test_the_second_laboratory_is_the_shifted_split(manifest):
    with manifest.open() as file:
        groups = {(row["split"], row["group"]) for row in csv.DictReader(file)}

    assert groups == {("train", "laboratory A"), ("shifted", "laboratory B")}


def test_a_class_mostly_has_its_usual_attributes():
    usual = usual_traits()
    kept = {kind: [] for kind in CLASSES}
    for cell, _ in cells(1000):
        kept[cell.kind].append(np.mean([trait in cell.traits.values() for trait in usual[cell.kind]]))

    assert all(0.85 < np.mean(shares) < 0.97 for shares in kept.values())


def test_granules_agree_with_each_other():
    for cell, _ in cells(500):
        bare = cell.traits["granularity"] == "agranular cytoplasm"
        assert bare == (cell.traits["granule type"] == "nil granule type")
        assert bare == (cell.traits["granule colour"] == "nil granule colour")


def test_masks_hold_a_nucleus_and_granules_exactly_where_there_are_some():
    for cell, rng in cells(40):
        _, mask = render_cell(cell, rng)
        shown = {PARTS[label] for label in np.unique(mask)}
        assert {"nucleus", "background"} <= shown
        assert ("granule" in shown) == (cell.traits["granularity"] == "granular cytoplasm")


def test_a_high_ratio_has_more_nucleus():
    shares = {"high": [], "low": []}
    for cell, rng in cells(100):
        _, mask = render_cell(cell, rng)
        nucleus, body = (mask == PARTS.index("nucleus")).sum(), ((mask > 0) & (mask < 5)).sum()
        shares[cell.traits["nucleus-cytoplasm ratio"].split()[0]].append(nucleus / body)

    assert np.mean(shares["high"]) > 1.4 * np.mean(shares["low"])


def test_the_second_laboratory_shows_cells_smaller_and_bluer():
    size, red = {}, {}
    for laboratory in "AB":
        drawn = [render_cell(cell, np.random.default_rng(i), laboratory) for i, (cell, _) in enumerate(cells(40))]
        bodies = [(mask > 0) & (mask < 5) for _, mask in drawn]
        size[laboratory] = np.mean([body.sum() for body in bodies])
        pixels = np.concatenate([picture[body] for (picture, _), body in zip(drawn, bodies, strict=True)]).astype(float)
        red[laboratory] = (pixels[:, 0] - pixels[:, 2]).mean()

    assert size["B"] < 0.8 * size["A"]
    assert red["B"] < red["A"]


def test_truth_says_how_the_second_laboratory_misleads(manifest):
    truth = json.loads((manifest.parent / "truth.json").read_text())

    assert truth["shift"] == {name: list(concepts) for name, concepts in SHIFT.items()}
    assert set(truth["concepts"]) == set(CONCEPTS)
    assert {concept for group in SHIFT.values() for concept in group} <= set(CONCEPTS)
