import json
import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cbm.data import preflight, read_dataset
from cbm.errors import Cancelled

RNG = np.random.default_rng(3)


def picture(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(path, **options)
    return path


def data_set(root, lines, header="path,label,split,group,c:wing,c:water"):
    """A manifest of the lines, each naming a picture that is made when it does not exist."""
    for line in lines:
        path = root / line.split(",")[0]
        if not path.exists():
            picture(path)
    (root / "manifest.csv").write_text("\n".join([header, *lines]))
    return root


def kinds(report, kind):
    return [problem for problem in report.problems if problem.kind == kind]


def test_counts_prevalence_and_missing_values_are_those_of_the_manifest(tmp_path):
    lines = [
        "1.png,owl,train,,1,",
        "2.png,owl,train,,0,",
        "3.png,jay,train,,0.5,",
        "4.png,jay,val,,,",
        "5.png,owl,test,,1,",
    ]

    report = preflight(data_set(tmp_path, lines))

    assert (report.images, report.listed, report.ok) == (5, 5, True)
    assert report.class_counts == {"jay": 2, "owl": 3}
    assert report.splits == {"train": 3, "val": 1, "test": 1}
    assert report.split_counts["train"] == {"jay": 1, "owl": 2}
    assert report.split_rule == "given"
    assert report.prevalence["wing"] == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert report.missing == {"wing": 1, "water": 5}
    assert math.isnan(report.prevalence["water"])
    assert "'water' is unknown on every image" in kinds(report, "missing_value")[0].detail


def test_json_has_the_documented_keys_and_no_nan(tmp_path):
    report = preflight(data_set(tmp_path, ["1.png,owl,train,,1,", "2.png,jay,train,,0,"]))

    values = json.loads(json.dumps(report.to_json(), allow_nan=False))

    assert values["images"] == 2
    assert values["classes"] == ["jay", "owl"]
    assert values["splits"] == {"train": 2}
    assert values["concepts"] == ["wing", "water"]
    assert values["concept_prevalence"] == {"wing": 0.5, "water": None}
    assert set(values["problems"][0]) >= {"kind", "path", "detail"}


def test_duplicates_are_found_by_content_within_and_across_splits(tmp_path):
    one = picture(tmp_path / "1.png").read_bytes()
    for name in ("same.png", "leak.png"):
        (tmp_path / name).write_bytes(one)

    report = preflight(
        data_set(
            tmp_path, ["1.png,owl,train,,,", "same.png,owl,train,,,", "leak.png,jay,test,,,", "2.png,jay,train,,,"]
        )
    )

    assert report.ok
    assert [(p.path, p.detail) for p in kinds(report, "duplicate")] == [
        ("same.png", "line 3: has the same content as '1.png'")
    ]
    assert [(p.path, p.detail) for p in kinds(report, "duplicate_across_splits")] == [
        ("leak.png", "line 4: has the same content as '1.png' (train, test)")
    ]
    assert [problem.path for problem in kinds(report, "conflicting_labels")] == ["leak.png"]


def test_a_group_in_two_splits_is_told_with_its_counts(tmp_path):
    lines = ["1.png,owl,train,p1,,", "2.png,jay,train,p2,,", "3.png,owl,test,p1,,", "4.png,owl,test,p1,,"]

    report = preflight(data_set(tmp_path, lines))

    (problem,) = kinds(report, "group_across_splits")
    assert "'p1' is in more than one split (2 in 'test', 1 in 'train')" in problem.detail
    assert report.ok


def test_made_splits_keep_groups_and_identical_files_together(tmp_path):
    lines = [f"{n}.png,{'owl' if n % 2 else 'jay'},patient-{n // 4}" for n in range(80)]

    grouped, report = read_dataset(data_set(tmp_path / "grouped", lines, "path,label,group"))

    assert "groups kept together" in report.split_rule
    assert len(set(zip(grouped.groups, grouped.splits.tolist(), strict=True))) == 20
    assert kinds(report, "group_across_splits") == []

    one = picture(tmp_path / "copies" / "0.png").read_bytes()
    for n in range(1, 20):
        (tmp_path / "copies" / f"{n}.png").write_bytes(one)
    lines = [f"{n}.png,{'owl' if n % 2 else 'jay'}" for n in range(60)]
    copies = read_dataset(data_set(tmp_path / "copies", lines, "path,label"))[0]
    assert len(set(copies.splits[:20].tolist())) == 1


def test_groups_that_are_whole_classes_are_divided_and_the_rule_says_so(tmp_path):
    lines = [f"{n}.png,{'owl' if n % 2 else 'jay'},{'wood' if n % 2 else 'lake'}" for n in range(40)]

    report = preflight(data_set(tmp_path, lines, "path,label,group"))

    assert "groups divided because" in report.split_rule
    assert len(kinds(report, "group_across_splits")) == 2


def test_a_rare_class_and_one_that_is_not_learnt_are_told(tmp_path):
    lines = [f"{n}.png,owl,train,,," for n in range(20)] + ["a.png,jay,train,,,", "b.png,wren,test,,,"]

    report = preflight(data_set(tmp_path, lines))

    assert "'owl' has 20 images in 'train', class 'jay' only 1" in kinds(report, "imbalance")[0].detail
    assert ["'wren'" in problem.detail for problem in kinds(report, "class_not_in_train")] == [True]
    assert ["'jay'" in problem.detail for problem in kinds(report, "small_class")] == [True]
    assert report.ok


def test_a_concept_that_never_changes_is_told(tmp_path):
    report = preflight(data_set(tmp_path, ["1.png,owl,train,,1,0", "2.png,jay,train,,1,1"]))

    assert [problem.detail for problem in kinds(report, "constant_concept")] == [
        "concept 'wing' is 1 on every image; it explains nothing"
    ]


def test_bad_files_are_told_apart(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "empty.jpg").touch()
    whole = picture(tmp_path / "whole.jpg", quality=95).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    announced = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + announced + struct.pack(">I", zlib.crc32(announced))
    (tmp_path / "huge.png").write_bytes(header)
    lines = [f"{name},owl,train,,," for name in ("page.jpg", "empty.jpg", "cut.jpg", "huge.png", "1.png")]
    lines.append("whole.jpg,jay,train,,,")

    report = preflight(data_set(tmp_path, lines))

    assert {problem.path: problem.kind for problem in report.errors} == {
        "page.jpg": "unreadable",
        "empty.jpg": "unreadable",
        "cut.jpg": "truncated",
        "huge.png": "too_large",
    }
    assert report.images == 2


def test_a_png_called_jpg_is_read_and_told(tmp_path):
    picture(tmp_path / "a.png").rename(tmp_path / "a.jpg")

    report = preflight(data_set(tmp_path, ["a.jpg,owl,train,,,", "b.png,jay,train,,,"]))

    assert report.ok
    (problem,) = kinds(report, "mislabelled")
    assert problem.detail == "line 2: is called '.jpg' but holds PNG; it is read as PNG"


def test_colour_modes_and_exif_rotations_are_counted(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "grey.png")
    Image.new("CMYK", (4, 4)).save(tmp_path / "ink.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "turned.jpg", exif=exif)

    report = preflight(data_set(tmp_path, ["grey.png,owl,train,,,", "ink.jpg,jay,train,,,", "turned.jpg,jay,train,,,"]))

    assert report.modes == {"L": 1, "CMYK": 1, "RGB": 1}
    assert report.rotated == 1


def test_a_mask_must_be_a_mask_and_of_the_size_of_its_image(tmp_path):
    Image.new("L", (6, 5)).save(tmp_path / "good.png")
    Image.new("L", (60, 50)).save(tmp_path / "large.png")
    Image.new("RGB", (6, 5)).save(tmp_path / "colour.png")
    lines = [f"{n}.png,{label},train,{mask}" for n, (label, mask) in enumerate(
        [("owl", "good.png"), ("jay", "large.png"), ("jay", "colour.png"), ("jay", "none.png"), ("jay", "../m.png")]
    )]  # fmt: skip

    report = preflight(data_set(tmp_path, lines, "path,label,split,mask_path"))

    assert [(p.path, p.kind) for p in report.errors] == [("2.png", "mask"), ("3.png", "mask"), ("4.png", "mask")]
    assert [(p.path, p.kind) for p in report.warnings if p.path] == [("1.png", "mask_size")]


def test_the_same_problem_a_thousand_times_is_shortened(tmp_path, monkeypatch):
    monkeypatch.setattr("cbm.preflight.MAX_SHOWN", 3)
    lines = [f"{n}.png,owl,train,,7," for n in range(9)] + ["a.png,owl,train,,,", "b.png,jay,train,,,"]

    report = preflight(data_set(tmp_path, lines))

    assert [problem.detail for problem in report.errors][-1] == "and 6 more of these"
    assert len(report.errors) == 4
    assert len(read_dataset(tmp_path, skip_bad=True)[0]) == 2


def test_preflight_can_be_cancelled(tmp_path):
    def stop(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        preflight(data_set(tmp_path, ["1.png,owl,train,,,", "2.png,jay,train,,,"]), on_progress=stop)
