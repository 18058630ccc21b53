import math

import pyarrow
import pytest
from pyarrow import parquet

from cbm.errors import DataError
from cbm.manifests import list_manifest, read_records


def written(tmp_path, text, name="manifest.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def details(listing):
    return [problem.detail for problem in listing.problems]


def test_every_column_lands_in_its_field(tmp_path):
    path = written(
        tmp_path,
        "image,class,Split,id,group,mask_path,meta:camera,cw:striped wing,c:striped wing,c:water\n"
        "a/1.jpg,owl,validation,A1,p7,m/1.png,Canon,3,0.25,\n",
    )

    listing = list_manifest(path)

    (row,) = listing.rows
    assert (row.path, row.label, row.split, row.id, row.group, row.mask) == (
        "a/1.jpg", "owl", "val", "A1", "p7", "m/1.png"
    )  # fmt: skip
    assert listing.concepts == ("striped wing", "water")
    assert row.concepts[0] == 0.25
    assert math.isnan(row.concepts[1])
    assert dict(zip(listing.extras, row.extra, strict=True)) == {"meta:camera": "Canon", "cw:striped wing": "3"}
    assert listing.problems == ()


def test_parquet_and_json_lines_read_as_the_same_rows_as_csv(tmp_path):
    csv = list_manifest(written(tmp_path, "path,label,c:wing,id\n1.jpg,owl,1,7\n2.jpg,jay,,8\n"))
    columns = {"path": ["1.jpg", "2.jpg"], "label": ["owl", "jay"], "c:wing": [1.0, None], "id": [7, 8]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "m.parquet")
    lines = '{"path": "1.jpg", "label": "owl", "c:wing": true, "id": 7}\n\n{"path": "2.jpg", "label": "jay", "id": 8}\n'

    others = [list_manifest(tmp_path / "m.parquet"), list_manifest(written(tmp_path, lines, "m.jsonl"))]

    expected = [(row.path, row.label, row.id, str(row.concepts)) for row in csv.rows]
    for other in others:
        assert [(row.path, row.label, row.id, str(row.concepts)) for row in other.rows] == expected
    assert [row.where for row in others[1].rows] == ["line 1", "line 3"]


def test_a_missing_column_names_the_choices_and_what_is_there(tmp_path):
    listing = list_manifest(written(tmp_path, "path,colour\n1.jpg,red\n"))

    (problem,) = listing.problems[:1]
    assert problem.kind == "missing_column"
    assert "no column 'label' or 'class'; it has 'path', 'colour'" in problem.detail
    assert listing.rows == ()


def test_a_concept_of_seven_is_reported_by_its_line(tmp_path):
    rows = "".join(f"{number}.jpg,owl,0\n" for number in range(10))
    listing = list_manifest(written(tmp_path, f"path,label,c:striped wing\n{rows}bad.jpg,owl,7\n"))

    (problem,) = listing.problems
    assert (problem.kind, problem.path, problem.row) == ("concept_value", "bad.jpg", 10)
    assert problem.detail == "line 12: concept 'striped wing' is 7; it must lie between 0 and 1"


@pytest.mark.parametrize(
    ("value", "reason"), [("-0.1", "between 0 and 1"), ("inf", "between 0 and 1"), ("big", "a number")]
)
def test_other_impossible_concept_values_are_reported(tmp_path, value, reason):
    listing = list_manifest(written(tmp_path, f"path,label,c:wing\n1.jpg,owl,{value}\n"))

    assert reason in listing.problems[0].detail


@pytest.mark.parametrize("value", ["", " ", "NaN", "NA", "null"])
def test_unknown_concepts_are_no_problem(tmp_path, value):
    listing = list_manifest(written(tmp_path, f"path,label,c:wing\n1.jpg,owl,{value}\n"))

    assert listing.problems == ()
    assert math.isnan(listing.rows[0].concepts[0])


def test_a_quoted_cell_that_spans_lines_keeps_later_line_numbers_right(tmp_path):
    listing = list_manifest(written(tmp_path, 'path,label,meta:note\n1.jpg,owl,"two\nlines"\n2.jpg,,x\n'))

    assert details(listing) == ["line 4: no label is given"]


def test_a_row_with_too_few_cells_is_one_bad_row(tmp_path):
    listing = list_manifest(written(tmp_path, "path,label,split\n1.jpg,owl\n2.jpg,owl,train\n"))

    assert [(problem.kind, problem.row) for problem in listing.problems] == [("cells", 0)]
    assert "2 cells, but the header has 3" in listing.problems[0].detail


def test_unknown_columns_are_named_and_left_out(tmp_path):
    listing = list_manifest(written(tmp_path, "path,label,wingspan\n1.jpg,owl,3\n"))

    (problem,) = listing.problems
    assert (problem.kind, problem.level) == ("ignored_column", "warning")
    assert "'c:wingspan'" in problem.detail


def test_a_column_that_is_there_twice_is_an_error(tmp_path):
    listing = list_manifest(written(tmp_path, "path,label,c:wing,c:wing\n1.jpg,owl,0,1\n"))

    assert details(listing) == ["manifest.csv has two columns 'c:wing'"]


@pytest.mark.parametrize("label", ["o" * 501, "ow\x00l", "ow\u2028l"])
def test_names_that_are_too_long_or_hold_control_characters_are_bad_rows(tmp_path, label):
    listing = list_manifest(written(tmp_path, f"path,label\n1.jpg,{label}\n"))

    assert [(problem.kind, problem.row) for problem in listing.problems] == [("bad_name", 0)]


def test_names_in_any_script_and_of_two_unicode_forms_are_one(tmp_path):
    listing = list_manifest(written(tmp_path, "path,label\n1.jpg,Ku\u0308ken\n2.jpg,K\u00fcken\n3.jpg,🦉 <b>\n"))

    assert [row.label for row in listing.rows] == ["Küken", "Küken", "🦉 <b>"]
    assert listing.problems == ()


def test_a_byte_order_mark_does_not_hide_the_first_column(tmp_path):
    listing = list_manifest(written(tmp_path, "\ufeffpath,label\n1.jpg,owl\n"))

    assert listing.problems == ()


def test_an_empty_manifest_has_no_columns(tmp_path):
    assert "it is empty" in details(list_manifest(written(tmp_path, "")))[0]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("m.csv", b"path,label\n\xff\xfe.jpg,owl\n", "not UTF-8"),
        ("m.csv", b'path,label\n"1.jpg,owl\n', "line 2 of 'm.csv' is not CSV"),
        ("m.jsonl", b'{"path": "1.jpg"}\n{"path": \n', "line 2 of 'm.jsonl' is not JSON"),
        ("m.jsonl", b"[1, 2]\n", "not a JSON object"),
        ("m.jsonl", b"[" * 100_000, "is not JSON"),
        ("m.parquet", b"PAR1 nothing", "not a Parquet file"),
        ("m.txt", b"path label", "not a manifest"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=match):
        list_manifest(tmp_path / name)


def test_more_rows_than_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cbm.manifests.MAX_ROWS", 2)
    _, records = read_records(written(tmp_path, "path,label\n" + "1.jpg,owl\n" * 3))

    with pytest.raises(DataError, match="more than 2 rows"):
        list(records)
