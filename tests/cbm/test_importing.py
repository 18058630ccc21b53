import zipfile

import numpy as np
import pytest
from PIL import Image

from cbm.data import ImageDataset, PreflightFailed, preflight
from cbm.errors import Cancelled, DataError
from cbm.importing import copy_into, import_dataset


@pytest.fixture
def source(tmp_path):
    """Ten pictures in two classes with odd names, one pair identical, one with a mask."""
    root = tmp_path / "source"
    root.mkdir()
    lines = ["path,label,mask_path,c:wing"]
    for number in range(10):
        pixels = np.random.default_rng(min(number, 8)).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"<b>{number}.png")
        lines.append(f"<b>{number}.png,{'owl' if number % 2 else 'jay'},{'m.png' if number == 3 else ''},0.5")
    Image.new("L", (4, 4), 2).save(root / "m.png")
    (root / "manifest.csv").write_text("\n".join(lines))
    return root


def packed(root, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, f"wrapped/{file.relative_to(root)}")
    return path


def left_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_copy_is_the_same_data_set_under_names_of_ours(source, tmp_path):
    dataset = ImageDataset.read(source)

    copy = copy_into(dataset, tmp_path / "stored" / "birds")

    assert copy.fingerprint == dataset.fingerprint
    assert copy.ids == dataset.ids
    for path, original, digest in zip(copy.paths, dataset.paths, dataset.hashes, strict=True):
        assert path.relative_to(tmp_path / "stored" / "birds").as_posix() == f"images/{digest[:2]}/{digest}.png"
        assert path.read_bytes() == original.read_bytes()
    assert copy.masks[3].read_bytes() == (source / "m.png").read_bytes()
    assert len(list((tmp_path / "stored" / "birds" / "images").rglob("*.png"))) == 9
    assert left_in(tmp_path / "stored") == ["birds"]


def test_the_manifest_in_a_copy_reads_back_as_the_copy(source, tmp_path):
    copy = copy_into(ImageDataset.read(source), tmp_path / "birds")

    again = ImageDataset.from_manifest(tmp_path / "birds" / "manifest.csv", trust=True)

    assert (again.fingerprint, again.paths, again.masks) == (copy.fingerprint, copy.paths, copy.masks)


def test_a_zip_is_imported_and_checked_as_the_folder_in_it(source, tmp_path):
    path = packed(source, tmp_path / "birds.zip")

    dataset, report = import_dataset(path, tmp_path / "store" / "stored")

    assert dataset.name == "birds"
    assert dataset.fingerprint == ImageDataset.read(source).fingerprint
    assert all(file.is_file() for file in dataset.paths)
    assert left_in(tmp_path / "store") == ["stored"]
    assert preflight(path).to_json() == report.to_json()


@pytest.mark.parametrize("pack", [False, True])
def test_nothing_stays_when_a_row_is_bad(source, tmp_path, pack):
    (source / "<b>4.png").write_text("<html>")
    path = packed(source, tmp_path / "birds.zip") if pack else source
    (tmp_path / "store").mkdir()

    with pytest.raises(PreflightFailed, match="line 6"):
        import_dataset(path, tmp_path / "store" / "birds")

    assert left_in(tmp_path / "store") == []


def test_the_good_rows_are_stored_when_bad_ones_may_be_left_out(source, tmp_path):
    (source / "<b>4.png").write_text("<html>")

    dataset, report = import_dataset(source, tmp_path / "store" / "birds", skip_bad=True)

    assert len(dataset) == 9
    assert [problem.path for problem in report.errors] == ["<b>4.png"]


def test_nothing_stays_when_the_copy_is_cancelled(source, tmp_path):
    (tmp_path / "store").mkdir()

    def stop(fraction, message):
        if "copied" in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        import_dataset(source, tmp_path / "store" / "birds", on_progress=stop)

    assert left_in(tmp_path / "store") == []


def test_a_file_that_changes_after_the_check_stops_the_copy(source, tmp_path):
    dataset = ImageDataset.read(source)
    Image.new("RGB", (4, 4)).save(source / "<b>0.png")
    (tmp_path / "store").mkdir()

    with pytest.raises(DataError, match=r"'<b>0\.png' was changed"):
        copy_into(dataset, tmp_path / "store" / "birds")

    assert left_in(tmp_path / "store") == []


def test_an_existing_folder_is_not_overwritten(source, tmp_path):
    dataset = ImageDataset.read(source)
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "precious.txt").write_text("x")

    with pytest.raises(DataError, match="exists already"):
        copy_into(dataset, tmp_path / "birds")

    assert left_in(tmp_path / "birds") == ["precious.txt"]
