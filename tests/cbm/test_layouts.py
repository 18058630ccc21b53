import pytest

from cbm.errors import DataError
from cbm.layouts import list_images


def files(root, *names):
    """Files of these names; the layouts never open a picture, so they are empty."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def rows(listing):
    return {row.path: (row.label, row.split) for row in listing.rows}


def test_the_one_table_beside_the_images_is_taken_as_the_manifest(tmp_path):
    files(tmp_path, "images/1.png", "images/2.png")
    (tmp_path / "list.csv").write_text("image,class\nimages/1.png,owl\nimages/2.png,jay\n")

    assert rows(list_images(tmp_path)) == {"images/1.png": ("owl", ""), "images/2.png": ("jay", "")}


def test_a_table_of_something_else_does_not_hide_the_class_folders(tmp_path):
    files(tmp_path, "owl/1.png", "jay/2.png")
    (tmp_path / "licences.csv").write_text("licence,url\nCC0,x\n")

    assert rows(list_images(tmp_path)) == {"jay/2.png": ("jay", ""), "owl/1.png": ("owl", "")}


def test_links_to_folders_are_not_followed_and_told(tmp_path):
    files(tmp_path / "data", "owl/1.png", "jay/2.png")
    (tmp_path / "data" / "loop").symlink_to(tmp_path)

    listing = list_images(tmp_path / "data")

    assert len(listing.rows) == 2
    assert [(problem.kind, problem.path) for problem in listing.problems] == [("link", "loop")]


def test_a_hugging_face_folder_without_metadata_is_class_folders(tmp_path):
    files(tmp_path, "train/owl/1.png", "test/jay/2.png")

    assert rows(list_images(tmp_path, "hf")) == rows(list_images(tmp_path, "folder"))


def test_a_metadata_file_can_be_given_by_its_own_path(tmp_path):
    files(tmp_path, "owl/1.png")
    (tmp_path / "metadata.csv").write_text("file_name\nowl/1.png\n")

    assert rows(list_images(tmp_path / "metadata.csv")) == {"owl/1.png": ("owl", "")}


def test_a_file_is_not_a_folder_of_class_folders(tmp_path):
    files(tmp_path, "owl.png")

    with pytest.raises(DataError, match="not a folder of class folders"):
        list_images(tmp_path / "owl.png", "folder")


def test_class_folders_with_a_bad_name_are_bad_rows(tmp_path):
    files(tmp_path, "owl/1.png", "j\tay/2.png")

    assert [(problem.kind, problem.row) for problem in list_images(tmp_path).problems] == [
        ("bad_name", 0),
        ("bad_name", 0),
    ]


def test_an_empty_folder_has_no_rows(tmp_path):
    assert list_images(files(tmp_path, "empty/.keep")).rows == ()


def test_more_files_than_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cbm.folders.MAX_FILES", 1)

    with pytest.raises(DataError, match="more than 1 files"):
        list_images(files(tmp_path, "owl/1.png", "jay/2.png"))
