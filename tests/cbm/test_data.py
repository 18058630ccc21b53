import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from cbm.data import ImageDataset, PreflightFailed, preflight, read_dataset
from cbm.errors import DataError, UnknownName
from cbm.rows import clean_name


def picture(path, seed=None, size=(6, 5)):
    """A small picture whose content is its own: by default that of its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = sum(map(ord, str(path))) if seed is None else seed
    values = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def pictures(root, *names):
    for number, name in enumerate(names):
        picture(root / name, number)
    return root


def table(root, text, name="manifest.csv"):
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def labelled(dataset):
    """What the data set says of each image, by its id."""
    names = [dataset.classes[label] for label in dataset.labels]
    return dict(zip(dataset.ids, zip(names, dataset.splits.tolist(), strict=True), strict=True))


def test_class_folders_give_labels_and_made_splits(tmp_path):
    pictures(tmp_path, *(f"{name}/{number}.png" for name in ("owl", "jay") for number in range(20)))

    dataset = ImageDataset.from_folder(tmp_path)

    assert dataset.classes == ("jay", "owl")
    assert {image.split("/")[0] == name for image, (name, _) in labelled(dataset).items()} == {True}
    assert {split: len(dataset.split(split)) for split in dataset.split_names} == {"train": 28, "val": 6, "test": 6}


def test_split_folders_keep_their_splits_with_synonyms_and_other_names(tmp_path):
    pictures(tmp_path, "Training/owl/1.png", "Training/jay/2.png", "validation/owl/3.png", "shifted/jay/deep/4.png")

    dataset = ImageDataset.from_folder(tmp_path)

    assert labelled(dataset) == {
        "Training/owl/1.png": ("owl", "train"),
        "Training/jay/2.png": ("jay", "train"),
        "validation/owl/3.png": ("owl", "val"),
        "shifted/jay/deep/4.png": ("jay", "shifted"),
    }


def test_a_class_that_is_called_train_stays_a_class(tmp_path):
    pictures(tmp_path, "train/1.png", "car/2.png", "bus/3.png")

    assert ImageDataset.from_folder(tmp_path).classes == ("bus", "car", "train")


def test_pictures_outside_class_folders_and_other_files_are_listed_and_left_out(tmp_path):
    pictures(tmp_path, "train/owl/1.png", "train/jay/2.png", "test/3.png", ".hidden/4.png")
    (tmp_path / "train" / "owl" / "notes.txt").write_text("x")
    (tmp_path / "train" / "owl" / "old.gif").write_bytes(b"GIF89a")

    dataset, report = read_dataset(tmp_path)

    assert dataset.ids == ("train/jay/2.png", "train/owl/1.png")
    left_out = {problem.path: problem.kind for problem in report.warnings if problem.path}
    assert left_out == {"test/3.png": "stray", "train/owl/notes.txt": "not_read", "train/owl/old.gif": "not_read"}


def test_classes_that_are_numbers_are_in_numerical_order(tmp_path):
    pictures(tmp_path, "10/1.png", "9/2.png")

    assert ImageDataset.from_folder(tmp_path).classes == ("9", "10")


def test_a_folder_wrapped_in_a_folder_is_unwrapped(tmp_path):
    pictures(tmp_path, "photos/owl/1.png", "photos/jay/2.png")

    assert ImageDataset.read(tmp_path).ids == ("jay/2.png", "owl/1.png")


def test_a_wrapped_folder_that_has_only_train_keeps_it_as_a_split(tmp_path):
    pictures(tmp_path, "photos/train/owl/1.png", "photos/train/jay/2.png")

    assert labelled(ImageDataset.read(tmp_path)) == {
        "train/owl/1.png": ("owl", "train"),
        "train/jay/2.png": ("jay", "train"),
    }


def test_concepts_without_their_labels_make_no_data_set():
    with pytest.raises(DataError, match="has 1 concepts, but labels of 0"):
        ImageDataset(
            "x", ("a",), (Path("a"),), np.zeros(1, np.int64), ("c",), np.array(["train"]), ("wing",), hashes=("",)
        )


def test_a_manifest_gives_concepts_groups_masks_and_further_columns(tmp_path):
    pictures(tmp_path, "1.png", "2.png")
    Image.new("L", (6, 5), 3).save(tmp_path / "mask.png")
    table(
        tmp_path,
        "path,label,split,group,mask_path,c:wing,meta:camera\n"
        "1.png,owl,train,land,mask.png,0.3,Canon\n"
        "2.png,jay,test,,,,\n",
    )

    dataset = ImageDataset.read(tmp_path)

    np.testing.assert_array_equal(dataset.concept_labels, np.float32([[0.3], [np.nan]]))
    assert dataset.groups == ("land", "")
    assert dataset.masks == ((tmp_path / "mask.png").resolve(), None)
    assert dataset.meta == {"meta:camera": ("Canon", "")}
    assert len(set(dataset.hashes)) == 2


def everything(tmp_path):
    """A data set that uses every field."""
    pictures(tmp_path, *(f"images/{number}.png" for number in range(4)))
    Image.new("L", (6, 5), 3).save(tmp_path / "mask.png")
    rows = [
        f'{name},images/{number}.png,"{label}",{split},{group},{mask},{value},{value},"a, ""b"""'
        for number, (name, label, split, group, mask, value) in enumerate(
            [("z", "Owl, Ünï", "train", "p1", "mask.png", "0.1"), ("y", "=jay", "train", "p2", "", ""),
             ("x", "=jay", "shifted", "", "", "1"), ("w", "Owl, Ünï", "val", "p3", "", "0.333333343")]
        )
    ]  # fmt: skip
    header = "id,path,label,split,group,mask_path,c:wing,cw:wing,meta:note"
    return ImageDataset.from_manifest(table(tmp_path, "\n".join([header, *rows])), name="all")


@pytest.mark.parametrize("trust", [False, True])
def test_a_written_manifest_is_read_back_equal(tmp_path, trust):
    dataset = everything(tmp_path)

    again = ImageDataset.from_manifest(dataset.to_manifest(tmp_path / "copy.csv"), name="all", trust=trust)

    for name in ("name", "ids", "paths", "classes", "concepts", "groups", "masks", "hashes", "meta", "fingerprint"):
        assert getattr(again, name) == getattr(dataset, name), name
    for name in ("labels", "splits", "concept_labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(dataset, name), strict=True)


NAMES = (
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20)
    .map(clean_name)
    .filter(bool)
)


@settings(max_examples=50, deadline=None)
@given(
    names=st.lists(NAMES, min_size=2, max_size=2, unique=True),
    concept=NAMES,
    group=NAMES,
    value=st.floats(0, 1, width=32),
)
def test_any_names_survive_the_way_through_a_manifest(tmp_path_factory, names, concept, group, value):
    root = pictures(tmp_path_factory.mktemp("any"), "1.png", "2.png")
    with (root / "first.csv").open("w", newline="", encoding="utf-8") as file:
        lines = [["path", "label", "split", "group", f"c:{concept}"], ["1.png", names[0], "train", group, value]]
        csv.writer(file).writerows([*lines, ["2.png", names[1], "train", "", ""]])

    dataset = ImageDataset.from_manifest(root / "first.csv")
    again = ImageDataset.from_manifest(dataset.to_manifest(root / "second.csv"), classes=dataset.classes)

    assert set(dataset.classes) == set(names)
    assert (dataset.concepts, dataset.groups, dataset.concept_labels[0, 0]) == (
        (concept,),
        (group, ""),
        np.float32(value),
    )
    assert again.fingerprint == dataset.fingerprint


def test_a_manifest_written_elsewhere_has_absolute_paths_and_needs_their_root(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    dataset = everything(tmp_path / "here")
    manifest = dataset.to_manifest(tmp_path / "there" / "m.csv")

    assert ImageDataset.from_manifest(manifest, root=tmp_path).fingerprint == dataset.fingerprint
    with pytest.raises(PreflightFailed, match="leaves the folder"):
        ImageDataset.from_manifest(manifest)


def test_a_trusted_manifest_is_read_without_opening_pictures_and_a_changed_one_is_noticed_otherwise(tmp_path):
    manifest = everything(tmp_path).to_manifest(tmp_path / "copy.csv")
    picture(tmp_path / "images" / "0.png", 99)

    assert len(ImageDataset.from_manifest(manifest, trust=True)) == 4
    with pytest.raises(PreflightFailed, match="line 2: the content is not the one"):
        ImageDataset.from_manifest(manifest)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_hugging_face_folder_takes_what_metadata_lacks_from_its_folders(tmp_path, kind):
    pictures(tmp_path, "train/owl/1.png", "train/jay/2.png", "test/jay/3.png")
    for split, files in (("train", ["owl/1.png", "jay/2.png"]), ("test", ["jay/3.png"])):
        rows = [{"file_name": file, "c:wing": 0.5, "text": "a bird"} for file in files]
        path = tmp_path / split / f"metadata.{kind}"
        if kind == "parquet":
            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        elif kind == "jsonl":
            path.write_text("\n".join(map(json.dumps, rows)))
        else:
            path.write_text("file_name,c:wing,text\n" + "".join(f"{file},0.5,a bird\n" for file in files))

    dataset, report = read_dataset(tmp_path)

    assert labelled(dataset) == {
        "test/jay/3.png": ("jay", "test"), "train/owl/1.png": ("owl", "train"), "train/jay/2.png": ("jay", "train")
    }  # fmt: skip
    assert dataset.concepts == ("wing",)
    assert dataset.meta == {"meta:text": ("a bird",) * 3}
    assert report.ok


def test_hugging_face_metadata_at_the_top_may_name_labels_and_splits(tmp_path):
    pictures(tmp_path, "1.png", "2.png")
    table(tmp_path, "file_name,label,split\n1.png,owl,train\n2.png,jay,train\n", "metadata.csv")

    assert labelled(ImageDataset.from_hf(tmp_path)) == {"1.png": ("owl", "train"), "2.png": ("jay", "train")}


def test_metadata_without_any_label_names_the_row(tmp_path):
    pictures(tmp_path, "1.png")
    table(tmp_path, "file_name\n1.png\n", "metadata.csv")

    with pytest.raises(PreflightFailed, match="line 2: no label is given, and the image is in no class folder"):
        ImageDataset.from_hf(tmp_path)


@pytest.fixture
def two_birds(tmp_path):
    """Two good pictures to which a test adds one bad line, the fourth."""
    pictures(tmp_path, "1.png", "2.png")
    return tmp_path, "path,label,split,id,c:striped wing\n1.png,owl,train,a,0\n2.png,jay,train,b,1\n"


@pytest.mark.parametrize(
    ("line", "kind", "detail"),
    [
        ("3.png,owl,train,c,0", "missing_file", "line 4: there is no such file"),
        ("../3.png,owl,train,c,0", "outside", "line 4: the path '../3.png' leaves the folder of the data set"),
        ("/etc/hostname,owl,train,c,0", "outside", "line 4: the path '/etc/hostname' leaves the folder"),
        ("bad.png,owl,train,c,0", "unreadable", "line 4: the content is not a JPEG, PNG, WebP, TIFF or BMP picture"),
        ("1.png,owl,train,a,0", "duplicate_id", "line 4: id 'a' is already used on line 2"),
        ("1.png,owl,train,c,7", "concept_value", "line 4: concept 'striped wing' is 7; it must lie between 0 and 1"),
        ("1.png,,train,c,0", "missing_value", "line 4: no label is given"),
        ("1.png,owl,,c,0", "missing_value", "line 4: no split is given, though other rows have one"),
        (",owl,train,c,0", "missing_value", "line 4: no path is given"),
        ("1.png,owl", "cells", "line 4: 2 cells, but the header has 5"),
    ],
)
def test_a_bad_row_is_told_by_line_refused_and_left_out_on_request(two_birds, line, kind, detail):
    root, rows = two_birds
    (root / "bad.png").write_text("<html>not found</html>")
    manifest = table(root, f"{rows}{line}\n")

    with pytest.raises(PreflightFailed, match="nothing was imported") as refused:
        ImageDataset.from_manifest(manifest)
    dataset, report = read_dataset(manifest, skip_bad=True)

    found = [(problem.kind, problem.detail) for problem in report.errors]
    assert [name for name, _ in found] == [kind]
    assert found[0][1].startswith(detail)
    assert detail in refused.value.message
    assert refused.value.report.errors == report.errors
    assert dataset.ids == ("a", "b")
    assert (report.images, report.listed) == (2, 3)


def test_a_link_that_leads_out_of_the_folder_is_refused(two_birds):
    root, rows = two_birds
    (root / "data").mkdir()
    pictures(root / "data", "1.png", "2.png")
    (root / "data" / "3.png").symlink_to(root / "1.png")
    manifest = table(root / "data", f"{rows}3.png,owl,train,c,0\n")

    with pytest.raises(PreflightFailed, match="leaves the folder"):
        ImageDataset.from_manifest(manifest)


def test_a_class_that_is_not_on_the_list_is_refused_with_the_closest(two_birds):
    root, rows = two_birds
    manifest = table(root, rows)

    with pytest.raises(PreflightFailed, match="line 3: there is no class named 'jay'; did you mean jays"):
        ImageDataset.from_manifest(manifest, classes=["owl", "jays"])


def test_a_given_class_list_fixes_the_order(two_birds):
    root, rows = two_birds

    assert ImageDataset.from_manifest(table(root, rows), classes=["owl", "jay", "wren"]).classes == (
        "owl",
        "jay",
        "wren",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,colour\n1.png,red\n", "no column 'label' or 'class'"),
        ("label\nowl\n", "no column 'path' or 'image'"),
        ("path,label,split\n1.png,owl,val\n2.png,jay,test\n", "'train' has no images; there are 'test', 'val'"),
        ("path,label\n1.png,owl\n2.png,owl\n", "every image has the class 'owl'"),
        ("path,label\n", "no image that can be used"),
    ],
)
def test_what_is_wrong_with_the_whole_is_refused_even_when_bad_rows_may_be_left_out(two_birds, text, message):
    root, _ = two_birds
    manifest = table(root, text)

    assert any(message in problem.detail for problem in preflight(manifest).errors)
    with pytest.raises(PreflightFailed, match=message):
        ImageDataset.from_manifest(manifest, skip_bad=True)


def test_a_path_that_does_not_exist_and_a_layout_that_does_not_say_so(tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        ImageDataset.read(tmp_path / "nowhere")
    with pytest.raises(UnknownName, match="layout"):
        ImageDataset.read(tmp_path, "fold")
    with pytest.raises(DataError, match="no manifest in"):
        ImageDataset.read(tmp_path, "manifest")


def test_an_unknown_split_is_told_with_the_choices(tmp_path):
    dataset = everything(tmp_path)

    with pytest.raises(UnknownName) as caught:
        dataset.split("tset")

    assert "train, val, shifted" in caught.value.hint


def test_a_subset_keeps_every_column_of_its_images(tmp_path):
    dataset = everything(tmp_path)

    part = dataset.where(dataset.splits == "train")

    assert (part.ids, part.groups, part.meta["cw:wing"]) == (("z", "y"), ("p1", "p2"), ("0.1", ""))
    assert part.classes == dataset.classes
    np.testing.assert_array_equal(part.concept_labels, np.float32([[0.1], [np.nan]]))


def test_the_fingerprint_sees_a_label_but_neither_name_nor_place(tmp_path):
    for place in ("one", "two"):
        pictures(tmp_path / place, "1.png", "2.png")
    text = "path,label,split\n1.png,owl,train\n2.png,jay,train\n"
    one, two = (ImageDataset.from_manifest(table(tmp_path / place, text)) for place in ("one", "two"))

    assert one.fingerprint == two.fingerprint
    assert one.where(np.array([True, False])).fingerprint != one.fingerprint


def test_columns_of_different_length_make_no_data_set():
    with pytest.raises(DataError, match="not all as long as its 1 ids"):
        ImageDataset(
            "x", ("a",), (Path("a"), Path("b")), np.zeros(1, np.int64), ("c",), np.array(["train"]), hashes=("",)
        )


def test_a_refusal_travels_between_processes_with_its_report(tmp_path):
    with pytest.raises(PreflightFailed) as caught:
        ImageDataset.from_manifest(table(tmp_path, "path,label\n"))

    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301

    assert (again.message, again.report) == (caught.value.message, caught.value.report)


def test_a_picture_of_a_data_set_opens_in_rgb(tmp_path):
    assert everything(tmp_path).image(2).mode == "RGB"


def test_an_archive_is_pointed_to_the_import(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")

    with pytest.raises(DataError) as caught:
        ImageDataset.read(tmp_path / "a.zip")

    assert "import_dataset" in caught.value.hint


def test_progress_reaches_one_and_never_falls(tmp_path):
    pictures(tmp_path, *(f"{name}/{number}.png" for name in ("owl", "jay") for number in range(5)))
    seen = []

    read_dataset(tmp_path, on_progress=lambda fraction, message: seen.append(fraction))

    assert seen[-1] == 1
    assert seen == sorted(seen)
