import json

import numpy as np
import pytest
from PIL import Image

from cbm.concept_parts import parts_file, read_parts
from cbm.data import read_dataset
from cbm.errors import DataError
from cbm.importing import copy_into

PARTS = {
    "parts": ["background", "bill", "wing"],
    "concepts": {"red bill": {"parts": ["bill"]}, "bird": {"parts": ["bill", "wing"]}},
}


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "photos"
    (folder / "masks").mkdir(parents=True)
    rows = ["path,label,split,mask_path"]
    for i in range(4):
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(folder / f"{i}.png")
        Image.fromarray(np.full((8, 8), i % 3, np.uint8)).save(folder / "masks" / f"{i}.png")
        rows.append(f"{i}.png,{'ab'[i % 2]},{'train' if i < 2 else 'test'},masks/{i}.png")
    (folder / "manifest.csv").write_text("\n".join(rows))
    (folder / "parts.json").write_text(json.dumps(PARTS))
    return read_dataset(folder / "manifest.csv", name="photos")[0]


def test_the_file_beside_the_masks_names_numbers_and_parts(dataset):
    assert read_parts(parts_file(dataset)) == {"red bill": {1: "bill"}, "bird": {1: "bill", 2: "wing"}}


def test_it_goes_along_when_the_images_are_copied(dataset, tmp_path):
    copied = copy_into(dataset, tmp_path / "copy")

    assert read_parts(parts_file(copied)) == read_parts(parts_file(dataset))


def test_without_masks_or_file_there_is_none(dataset):
    parts_file(dataset).unlink()

    assert parts_file(dataset) is None


@pytest.mark.parametrize("content", ["[]", "{", '{"parts": ["bill"], "concepts": {"red bill": {"parts": ["beak"]}}}'])
def test_a_file_of_another_form_is_refused_in_words(tmp_path, content):
    (tmp_path / "parts.json").write_text(content)

    with pytest.raises(DataError, match=r"parts\.json does not say"):
        read_parts(tmp_path / "parts.json")
