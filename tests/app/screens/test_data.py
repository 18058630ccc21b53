"""The screens Data and Jobs, driven as a person would, without a browser."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from app import jobs, store, tasks, uploads
from app.ui.encoders import OTHER
from app.workspace import Workspace
from cbm.data import ImageDataset
from cbm.errors import UsageError
from tests.cbm.miniatures import celeba

Open, Work, Words = Callable[..., AppTest], Callable[[], None], Callable[[AppTest], str]


@pytest.fixture
def stored(workspace: Workspace, tiles: ImageDataset) -> ImageDataset:
    """The twelve tiles, in the workspace."""
    store.add_dataset(workspace, tiles, REPORT)
    return tiles


REPORT = {
    "images": 12, "listed": 12, "classes": ["red", "blue"], "splits": {"train": 6, "val": 6}, "concepts": ["odd", "late"],
    "problems": [{"kind": "duplicate", "path": "tile/001", "detail": "twice", "level": "warning"}], "ok": True,
    "class_counts": {"red": 4, "blue": 8}, "split_counts": {"train": {"red": 2, "blue": 4}, "val": {"red": 2, "blue": 4}},
    "split_rule": "given", "concept_prevalence": {"odd": 0.5, "late": None}, "concept_missing": {"odd": 0, "late": 3},
    "colour_modes": {"RGB": 12}, "exif_rotated": 0,
}  # fmt: skip


def folder_of_images(folder: Path) -> Path:
    """Ten pictures of each of two classes, and a file that is none."""
    for number, name in enumerate(("red", "blue")):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (8, 8), (25 * i, 200 * number, 40)).save(folder / name / f"{i}.png")
    (folder / "red" / "broken.png").write_bytes(b"no picture")
    return folder


def test_without_data_the_screen_says_how_to_get_some(open_screen: Open, words: Words) -> None:
    page = open_screen("data")

    assert not page.exception
    assert "No data set yet" in words(page)
    assert {"check_upload", "check_path"} <= {button.key for button in page.button}


def test_a_folder_is_checked_before_anything_is_stored_and_imported_after(
    open_screen: Open, workspace: Workspace, work: Work, tmp_path: Path, words: Words
) -> None:
    page = open_screen("data")
    page.text_input(key="intake_path").set_value(str(folder_of_images(tmp_path / "photos"))).run()
    page.button(key="check_path").click().run()
    work()
    assert store.datasets(workspace) == []

    page = open_screen("data", show="Import", check="1")
    assert "unreadable (1)" in words(page)
    assert page.button(key="import").disabled
    page.checkbox(key="import_skip").check().run()
    page.button(key="import").click().run()
    work()

    assert not page.exception
    assert store.dataset_row(workspace, "photos").size == 20


def test_a_path_that_is_not_there_ends_in_words(open_screen: Open, work: Work, words: Words) -> None:
    page = open_screen("data")
    page.text_input(key="intake_path").set_value("/no/such/folder").run()
    page.button(key="check_path").click().run()
    work()

    page = open_screen("data", show="Import", check="1")

    assert not page.exception
    assert "there is no file or folder" in words(page)


def test_a_published_data_set_shows_its_terms_and_another_label_checks_it_again(
    open_screen: Open, workspace: Workspace, work: Work, tmp_path: Path, words: Words
) -> None:
    page = open_screen("data")
    page.text_input(key="intake_path").set_value(str(celeba(tmp_path / "celeba"))).run()
    page.button(key="check_path").click().run()
    work()

    page = open_screen("data", show="Import", check="1")
    assert "This is CelebA" in words(page)
    assert r"non\-commercial research only" in words(page)
    assert page.selectbox(key="import_label").value == "Smiling"
    page.selectbox(key="import_label").select("Bald").run()
    assert not page.exception
    work()

    page = open_screen("data", show="Import", check="2")
    assert page.selectbox(key="import_label").value == "Bald"
    page.button(key="import").click().run()
    work()
    assert store.dataset_row(workspace, "celeba").classes == ("Bald", "not Bald")
    assert "This is CelebA" in words(open_screen("data", dataset="celeba", show="Contents"))


def test_scans_can_be_windowed_before_they_are_imported(
    open_screen: Open, workspace: Workspace, work: Work, tmp_path: Path, words: Words
) -> None:
    pytest.importorskip("pydicom")
    from tests.cbm.test_dicom import clinic

    jobs.enqueue(workspace, "check", {"path": str(clinic(tmp_path / "scans")), "layout": "auto"})
    work()
    page = open_screen("data", show="Import", check="1")
    assert "6 DICOM files of 3 patients" in words(page)
    assert page.text_input(key="import_window").value == "auto"

    page.text_input(key="import_window").set_value("wide").run()
    assert "is not CENTER,WIDTH" in words(page)
    page.text_input(key="import_window").set_value("1000,2000").run()
    assert jobs.job(workspace, 2).params["options"] == {"window": "1000,2000", "frame": "first"}


def test_the_gallery_filters_in_the_database(open_screen: Open, stored: ImageDataset, words: Words) -> None:
    page = open_screen("data", dataset="tiles", label="red", split="val")

    assert not page.exception
    assert "1 to 2 of 2 images" in words(page)
    page.text_input(key="find").set_value("no such").run()
    assert "No image passes these filters." in words(page)


def test_names_from_data_are_shown_and_not_read(
    open_screen: Open, workspace: Workspace, tmp_path: Path, words: Words
) -> None:
    folder = folder_of_images(tmp_path / "photos")
    (folder / "red").rename(folder / "![x](http:x) <b>")
    (folder / "![x](http:x) <b>" / "broken.png").unlink()
    tasks.run(workspace, "import", {"path": str(folder), "name": "*odd*"}, lambda fraction, message: None)

    page = open_screen("data", dataset="*odd*")

    assert not page.exception
    assert r"\!\[x\]\(http\:x\)" in words(page)
    assert "![x](http:x)" not in words(page)


def test_contents_say_what_the_import_remarked(open_screen: Open, stored: ImageDataset, words: Words) -> None:
    page = open_screen("data", dataset="tiles", show="Contents")

    assert not page.exception
    assert "duplicate (1)" in words(page)
    assert [metric.value for metric in page.metric][:3] == ["12", "2", "2"]


def test_embedding_is_a_job(open_screen: Open, workspace: Workspace, stored: ImageDataset, words: Words) -> None:
    page = open_screen("data", dataset="tiles", show="Embeddings")
    page.radio(key="encoder").set_value(OTHER).run()
    page.text_input(key="encoder_id").set_value("open_clip:local-dir:/mine").run()
    page.button(key="embed").click().run()

    (job,) = jobs.jobs(workspace)
    assert (job.kind, job.params) == ("embed", {"dataset": "tiles", "encoder": "open_clip:local-dir:/mine"})
    assert r"Embed tiles with open\_clip\:local\-dir" in words(page)


def test_a_precision_that_is_chosen_goes_with_the_job(
    open_screen: Open, workspace: Workspace, stored: ImageDataset
) -> None:
    page = open_screen("data", dataset="tiles", show="Embeddings", precision="bf16")
    page.toggle(key="precision_decode").set_value(True).run()
    page.button(key="embed").click().run()

    (job,) = jobs.jobs(workspace)
    assert job.params == {"dataset": "tiles", "encoder": "builtin:demo", "precision": "bf16", "fast_decode": True}


def test_deleting_a_data_set_leaves_the_others(open_screen: Open, workspace: Workspace, stored: ImageDataset) -> None:
    page = open_screen("data", dataset="tiles", show="Contents")
    page.button(key="delete").click().run()

    assert not page.exception
    assert store.datasets(workspace) == []


def test_a_failed_job_shows_its_hint_and_can_be_retried(
    open_screen: Open, workspace: Workspace, work: Work, words: Words
) -> None:
    jobs.enqueue(workspace, "check", {"path": "/no/such/place"})
    work()
    page = open_screen("jobs")
    assert "check the path" in words(page)

    page.button(key="job_retry_1").click().run()

    assert jobs.job(workspace, 1).state == "queued"
    page.button(key="job_cancel_1").click().run()
    assert jobs.job(workspace, 1).state == "cancelled"
    assert not page.exception


class Sent(io.BytesIO):
    """A file as the browser sends it."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name, self.size = name, len(content)


def packed(**files: bytes) -> bytes:
    """A zip file."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def test_a_manifest_and_its_zip_become_one_folder(workspace: Workspace) -> None:
    sent = [Sent("labels.csv", b"path,label\na,red\n"), Sent("../x.zip", packed(a=b"1", **{"manifest.csv": b"old"}))]

    place = uploads.receive(workspace, sent)

    assert uploads.is_upload(workspace, place)
    assert (place / "manifest.csv").read_text() == "path,label\na,red\n"
    assert (place / "a").read_bytes() == b"1"
    uploads.forget(workspace, place)
    assert list(uploads.folder(workspace).iterdir()) == []


def test_other_files_and_too_large_ones_are_refused_here_too(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="do not make a data set"):
        uploads.receive(workspace, [Sent("a.zip", b""), Sent("b.zip", b"")])
    large = Sent("a.zip", b"")
    large.size = workspace.settings.max_upload_bytes + 1
    with pytest.raises(UsageError, match="the limit is"):
        uploads.receive(workspace, [large])


def test_only_uploads_are_ever_forgotten(workspace: Workspace, tmp_path: Path) -> None:
    keep = tmp_path / "mine"
    keep.mkdir()

    uploads.forget(workspace, keep)

    assert keep.is_dir()


def test_a_link_to_one_job_shows_that_one(open_screen: Open, workspace: Workspace, words: Words) -> None:
    for name in ("first", "second"):
        jobs.enqueue(workspace, "check", {"path": f"/data/{name}"})

    page = open_screen("jobs", job="1")

    assert not page.exception
    assert "Check first" in words(page)
    assert "Check second" not in words(page)
    assert "there is no job" in words(open_screen("jobs", job="77"))


def test_uploads_that_nobody_imports_are_removed_when_the_next_one_comes(workspace: Workspace) -> None:
    old = uploads.receive(workspace, [Sent("a.zip", packed(a=b"1"))])
    os.utime(old.parent, (0, 0))

    new = uploads.receive(workspace, [Sent("b.zip", packed(a=b"1"))])

    assert not old.exists()
    assert new.is_file()
