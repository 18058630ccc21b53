"""Hugging Face data sets with pictures inside tables, written with pyarrow as `datasets` 5.2 writes them."""

import hashlib
import io
import json

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import ipc, parquet

from cbm.data import preflight, read_dataset
from cbm.errors import DataError, UnknownName
from cbm.importing import import_dataset
from cbm.incoming import listed

FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["owl", "jay"], "_type": "ClassLabel"},
    "camera": {"dtype": "string", "_type": "Value"},
}
STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def png(number, size=(6, 5)):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def table(numbers, features=FEATURES, **columns):
    """A table of pictures with these numbers; even ones are owls."""
    made = {
        "image": pyarrow.array([{"bytes": png(n), "path": None} for n in numbers], STRUCT),
        "label": pyarrow.array([n % 2 for n in numbers], pyarrow.int64()),
        "camera": pyarrow.array([f"c{n}" for n in numbers]),
        **columns,
    }
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    return pyarrow.table(made).replace_schema_metadata(metadata)


def saved(folder, shards, features=FEATURES, **state):
    """What `Dataset.save_to_disk` leaves: Arrow streams, `state.json` and `dataset_info.json`."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(shards):05}.arrow" for number in range(len(shards))]
    for name, content in zip(names, shards, strict=True):
        with ipc.new_stream(folder / name, content.schema) as writer:
            writer.write_table(content, max_chunksize=2)
    told = {"_data_files": [{"filename": name} for name in names], "_split": None, **state}
    (folder / "state.json").write_text(json.dumps(told))
    info = {"features": features, "license": "cc0", "homepage": "http://x", "citation": "@misc{x}"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def whole(root):
    """Three splits, the first of two shards."""
    saved(root / "train", [table(range(4)), table(range(4, 6))])
    saved(root / "validation", [table([6, 7])])
    saved(root / "test", [table([8, 9])])
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation", "test"]}))
    return root


def repository(root):
    (root / "data").mkdir(parents=True)
    parquet.write_table(table(range(6)), root / "data" / "train-00000-of-00001.parquet")
    parquet.write_table(table([6, 7]), root / "data" / "test-00000-of-00001-ab12cd34.parquet")
    return root


def test_a_saved_dictionary_gives_splits_classes_and_further_columns(tmp_path):
    dataset, report = import_dataset(whole(tmp_path / "birds"), tmp_path / "stored")

    assert report.splits == {"train": 6, "val": 2, "test": 2}
    assert dataset.classes == ("jay", "owl")
    assert [dataset.classes[label] for label in dataset.labels[:3]] == ["owl", "jay", "owl"]
    assert dataset.meta["meta:camera"][:2] == ("c0", "c1")
    assert dataset.ids[:2] == ("train/0000000", "train/0000001")
    assert dataset.ids[-1] == "test/0000001"
    assert [path.read_bytes() for path in dataset.paths] == [png(n) for n in range(10)]
    assert dataset.hashes[3] == hashlib.sha256(png(3)).hexdigest()


def test_the_report_says_what_it_is_and_on_what_terms(tmp_path):
    source = preflight(whole(tmp_path / "birds")).source

    assert source.says == "This is a Hugging Face data set: 10 rows, pictures in 'image', label 'label'."
    assert (source.layout, source.terms, source.contact, source.cite) == ("hf", "cc0", "http://x", "@misc{x}")
    assert source.labels == ("label",)


def test_one_saved_split_is_divided_as_usual_unless_it_has_a_name(tmp_path):
    assert preflight(saved(tmp_path / "a", [table(range(40))])).splits == {"train": 28, "val": 6, "test": 6}
    assert preflight(saved(tmp_path / "b", [table(range(8))], _split="train")).splits == {"train": 8}


def test_parquet_shards_take_their_split_from_their_name_or_their_folder(tmp_path):
    assert preflight(repository(tmp_path / "a")).splits == {"train": 6, "test": 2}

    for split in ("train", "validation"):
        (tmp_path / "b" / "default" / split).mkdir(parents=True)
        parquet.write_table(table(range(4)), tmp_path / "b" / "default" / split / "0000.parquet")
    assert preflight(tmp_path / "b").splits == {"train": 4, "val": 4}


def test_pictures_inside_tables_cannot_be_left_where_they_are(tmp_path):
    with pytest.raises(DataError, match="inside tables") as caught:
        read_dataset(whole(tmp_path / "birds"))
    assert "--reference" in caught.value.hint


def test_nothing_is_left_behind_and_equal_pictures_are_written_once(tmp_path):
    twice = table(range(4)).take([0, 0, 1, 1])
    within = tmp_path / "work"
    within.mkdir()

    with listed(saved(tmp_path / "a", [twice]), within=within) as listing:
        assert len({row.file for row in listing.rows}) == 2
        assert all(row.file.is_relative_to(within) for row in listing.rows)
    assert list(within.iterdir()) == []


def test_another_column_can_be_the_label(tmp_path):
    features = {**FEATURES, "place": {"names": ["lake", "wood"], "_type": "ClassLabel"}}
    root = saved(tmp_path / "a", [table(range(4), features, place=pyarrow.array([0, 0, 1, -1]))], features)

    report = preflight(root, options={"label": "place"})

    assert report.source.labels == ("label", "place")
    with listed(root, options={"label": "place"}) as listing:
        assert (listing.extras, listing.rows[1].extra) == (("meta:label", "meta:camera"), ("jay", "c1"))
    assert report.class_counts == {"lake": 2, "wood": 1}
    assert [(p.kind, p.path) for p in report.errors] == [("missing_value", "data/0000003")]
    with pytest.raises(UnknownName, match="no column named 'plaice'"):
        preflight(root, options={"label": "plaice"})


def test_concept_and_group_columns_are_what_they_are_in_a_manifest(tmp_path):
    extra = {"c:wing": pyarrow.array([1.0, 0.0, None, 7.0]), "group": pyarrow.array(["p1", "p1", "p2", "p2"])}
    with listed(saved(tmp_path / "a", [table(range(4), **extra)])) as listing:
        assert listing.concepts == ("wing",)
        assert [row.group for row in listing.rows] == ["p1", "p1", "p2", "p2"]
        assert [(p.kind, p.row) for p in listing.problems] == [("concept_value", 3)]


def test_a_row_without_a_picture_or_with_one_outside_is_a_problem(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(1))
    cells = [
        {"bytes": png(0), "path": None},
        None,
        {"bytes": None, "path": str(tmp_path / "secret.png")},
        {"bytes": b"no picture", "path": None},
        {"bytes": None, "path": "beside.png"},
    ]
    labels = pyarrow.array([0, 0, 0, 0, 1])
    root = saved(tmp_path / "a", [table(range(5), image=pyarrow.array(cells, STRUCT), label=labels)])
    (root / "beside.png").write_bytes(png(5))

    report = preflight(root)

    assert sorted(problem.kind for problem in report.errors) == ["missing_value", "outside", "unreadable"]
    assert report.images == 2


def test_tables_that_cannot_be_read_or_have_no_labels_say_so(tmp_path):
    root = saved(tmp_path / "a", [table(range(4))])
    (root / "data-00000-of-00001.arrow").write_bytes(b"no table")
    with pytest.raises(DataError, match="not a table"):
        preflight(root)

    content = table(range(4)).drop_columns(["label"])
    with pytest.raises(DataError, match="no column of the tables holds labels; they have 'image', 'camera'"):
        preflight(saved(tmp_path / "b", [content], {"image": {"_type": "Image"}}))

    root = saved(tmp_path / "c", [table(range(4))])
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../etc/passwd"}]}))
    with pytest.raises(DataError, match="leaves the folder"):
        preflight(root)


def test_shards_with_other_columns_are_refused(tmp_path):
    root = saved(tmp_path / "a", [table(range(4)), table(range(2)).drop_columns(["camera"])])

    with pytest.raises(DataError, match="has no column 'camera'"):
        preflight(root)


def test_a_script_beside_the_tables_is_not_run(tmp_path):
    root = repository(tmp_path / "a")
    (root / "a.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    assert preflight(root).images == 8
    assert not (tmp_path / "ran").exists()


def test_too_large_a_picture_and_too_many_bytes_stop(tmp_path, monkeypatch):
    monkeypatch.setattr("cbm.hf_tables.MAX_FILE_BYTES", 50)
    with pytest.raises(DataError, match="is larger than"):
        preflight(whole(tmp_path / "a"))
