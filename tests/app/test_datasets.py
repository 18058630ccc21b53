"""Data sets in a workspace come back as they went in, and their images are found by every filter."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app import store, tasks
from app.store import query_images
from app.workspace import Workspace
from cbm.data import ImageDataset
from cbm.errors import StoreError, UnknownName, UsageError
from cbm.progress import silent


@pytest.fixture
def filled(ws: Workspace, tiles: ImageDataset) -> Workspace:
    store.add_dataset(ws, tiles, {"images": 12})
    return ws


def found(ws: Workspace, **filters: object) -> list[int]:
    rows, total = query_images(ws, "tiles", per_page=100, **filters)
    assert total == len(rows)
    return [row.position for row in rows]


def test_a_data_set_comes_back_equal(filled: Workspace, tiles: ImageDataset) -> None:
    back = store.dataset(filled, "tiles")

    assert back.fingerprint == tiles.fingerprint
    for field in ("name", "ids", "paths", "classes", "concepts", "groups", "masks", "hashes", "meta"):
        assert getattr(back, field) == getattr(tiles, field), field
    np.testing.assert_array_equal(back.labels, tiles.labels)
    np.testing.assert_array_equal(back.splits, tiles.splits)
    np.testing.assert_array_equal(back.concept_labels, tiles.concept_labels)  # NaN where it was


def test_its_row_says_what_is_in_it(filled: Workspace) -> None:
    (row,) = store.datasets(filled)

    assert (row.name, row.size, row.classes, row.concepts) == ("tiles", 12, ("red", "blue"), ("odd", "late"))
    assert (row.splits, row.report, row.encoders) == ({"train": 6, "val": 6}, {"images": 12}, ())


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, list(range(12))),
        ({"class_": "red"}, [0, 3, 6, 9]),
        ({"split": "val"}, [1, 3, 5, 7, 9, 11]),
        ({"concept": "odd"}, [1, 3, 5, 7, 9, 11]),
        ({"concept": "late"}, [3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ({"concept": "late", "present": False}, []),  # unknown is not absent
        ({"concept": "odd", "present": False}, [0, 2, 4, 6, 8, 10]),
        ({"text": "TILE/01"}, [10, 11]),
        ({"text": "south"}, [6, 7, 8, 9, 10, 11]),
        ({"text": "%"}, []),
        ({"class_": "red", "split": "val", "text": "north"}, [3]),
    ],
)
def test_images_are_found_by(filled: Workspace, filters: dict[str, object], expected: list[int]) -> None:
    assert found(filled, **filters) == expected


def test_a_page_holds_its_part_and_the_whole_count(filled: Workspace) -> None:
    pages = [query_images(filled, "tiles", page=page, per_page=5) for page in (1, 2, 3, 4)]

    assert [[row.position for row in rows] for rows, _ in pages] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11], []]
    assert {total for _, total in pages} == {12}


def test_an_image_row_has_the_names_a_person_knows(filled: Workspace, tiles: ImageDataset) -> None:
    row = query_images(filled, "tiles")[0][3]

    assert (row.id, row.class_, row.split, row.group) == ("tile/003", "red", "val", "north")
    assert (row.path, row.hash, row.concepts) == (tiles.paths[3], tiles.hashes[3], ("odd", "late"))


@pytest.mark.parametrize("filters", [{"class_": "rde"}, {"split": "tarin"}, {"concept": "od"}])
def test_a_filter_by_an_unknown_name_is_explained(filled: Workspace, filters: dict[str, str]) -> None:
    with pytest.raises(UnknownName, match=next(iter(filters.values()))):
        query_images(filled, "tiles", **filters)


@pytest.mark.parametrize(("page", "per_page"), [(0, 10), (1, 0), (1, 100_000)])
def test_pages_have_bounds(filled: Workspace, page: int, per_page: int) -> None:
    with pytest.raises(UsageError):
        query_images(filled, "tiles", page=page, per_page=per_page)


def test_images_by_id_keep_the_order_of_the_request(filled: Workspace) -> None:
    rows = store.images_by_id(filled, "tiles", ["tile/007", "tile/002"])

    assert [row.position for row in rows] == [7, 2]
    with pytest.raises(UnknownName, match="tile/999"):
        store.images_by_id(filled, "tiles", ["tile/999"])


def test_adding_twice_changes_nothing_and_another_of_that_name_is_refused(
    filled: Workspace, tiles: ImageDataset
) -> None:
    store.add_dataset(filled, tiles, {"images": 12})
    assert len(store.datasets(filled)) == 1

    with pytest.raises(StoreError, match="another data set named 'tiles'"):
        store.add_dataset(filled, tiles.split("val"), {})
    with pytest.raises(StoreError, match="another data set named 'tiles'"):
        store.copy_images(filled, tiles.split("val"))
    with pytest.raises(UsageError, match="cannot be a name"):
        store.copy_images(filled, replace(tiles, name="../tiles"))
    assert store.dataset_row(filled, "tiles").size == 12
    assert list(filled.folder("datasets").iterdir()) == []


def test_copied_pictures_survive_the_loss_of_the_originals(ws: Workspace, tiles: ImageDataset) -> None:
    copied = store.copy_images(ws, tiles)
    again = store.copy_images(ws, tiles)  # as after a crash between the copy and the row
    store.add_dataset(ws, again, {})
    for path in tiles.paths:
        path.unlink()

    back = store.dataset(ws, "tiles")

    assert back.paths == copied.paths == again.paths
    assert [path.is_relative_to(ws.settings.home) for path in back.paths] == [True] * 12
    assert store.thumbnails(ws, "tiles", ["tile/003"])["tile/003"][:2] == b"\xff\xd8"


def test_a_moved_workspace_still_finds_its_pictures(workspace: Workspace, tiles: ImageDataset, tmp_path: Path) -> None:
    store.add_dataset(workspace, store.copy_images(workspace, tiles), {})
    workspace.close()
    moved = workspace.settings.home.rename(tmp_path / "elsewhere")

    ws = store.open_workspace(replace(workspace.settings, home=moved))

    assert all(path.exists() for path in store.dataset(ws, "tiles").paths)
    ws.close()


def test_deleting_removes_copies_but_never_a_persons_own_files(ws: Workspace, tiles: ImageDataset) -> None:
    store.add_dataset(ws, store.copy_images(ws, tiles), {})
    store.add_dataset(ws, replace(tiles, name="referenced"), {})

    store.delete_dataset(ws, "referenced")
    assert all(path.exists() for path in store.dataset(ws, "tiles").paths)
    store.delete_dataset(ws, "tiles")

    assert store.datasets(ws) == []
    assert list(ws.folder("datasets").iterdir()) == list(ws.folder("manifests").iterdir()) == []
    assert all(path.exists() for path in tiles.paths)


def test_thumbnails_are_made_once_and_a_broken_picture_is_left_out(workspace: Workspace, tiles: ImageDataset) -> None:
    store.add_dataset(workspace, tiles, {})
    tiles.paths[1].write_bytes(b"not a picture")

    first = store.thumbnails(workspace, "tiles", ["tile/000", "tile/001"], size=16)
    tiles.paths[0].unlink()
    second = store.thumbnails(workspace, "tiles", ["tile/000", "tile/001"], size=16)

    assert list(first) == ["tile/000"]
    assert first == second


def test_a_data_set_that_is_not_embedded_says_how_to(filled: Workspace) -> None:
    with pytest.raises(StoreError, match="not embedded") as caught:
        store.training_set(filled, "tiles", "test:colour")

    assert "pellucid embed tiles --encoder test:colour" in caught.value.hint


@pytest.mark.usefixtures("extensions")
def test_stored_embeddings_make_a_training_set_without_the_encoder(
    filled: Workspace, tiles: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colour_encoder import ColourEncoder

    monkeypatch.setattr("app.store.load_encoder", lambda ws, id: ColourEncoder())
    done = tasks.run(filled, "embed", {"dataset": "tiles", "encoder": "test:colour"}, silent)
    monkeypatch.undo()

    training = store.training_set(filled, "tiles", "test:colour")

    colours = torch.tensor([[i, 100, 17] for i in range(12)], dtype=torch.float32)
    torch.testing.assert_close(training.x, torch.nn.functional.normalize(colours, dim=1), rtol=0, atol=5e-4)  # fp16
    assert (training.ids, training.concepts, training.groups) == (tiles.ids, tiles.concepts, tiles.groups)
    assert (done["computed"], done["reused"], done["skipped"]) == (12, 0, [])
    assert store.dataset_row(filled, "tiles").encoders == ("test:colour",)


def test_an_import_job_copies_and_reports(ws: Workspace, tmp_path: Path, tiles: ImageDataset) -> None:
    folder = tmp_path / "photos"
    for i, path in enumerate(tiles.paths):
        target = folder / ("cat" if i % 2 else "dog") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)

    result = tasks.run(ws, "import", {"path": str(folder), "name": "pets"}, silent)

    assert (result["dataset"], result["images"], result["classes"]) == ("pets", 12, ["cat", "dog"])
    assert store.dataset(ws, "pets").paths[0].is_relative_to(ws.folder("datasets"))


def test_one_page_of_many_images_is_quick(ws: Workspace) -> None:
    n, k = 20_000, 50
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 20, n)
    large = ImageDataset(
        name="large",
        ids=tuple(f"{i:06d}" for i in range(n)),
        paths=tuple(Path(f"/photos/{i:06d}.jpg") for i in range(n)),
        labels=labels,
        classes=tuple(f"class {c}" for c in range(20)),
        splits=np.array(["train", "test"])[rng.integers(0, 2, n)],
        concepts=tuple(f"concept {j}" for j in range(k)),
        concept_labels=rng.integers(0, 2, (n, k)).astype(np.float32),
        hashes=tuple(f"{i:064x}" for i in range(n)),
    )
    store.add_dataset(ws, large, {})

    start = time.perf_counter()
    rows, total = query_images(ws, "large", class_="class 3", concept="concept 49", page=10, per_page=24)
    seconds = time.perf_counter() - start

    assert total == int(((labels == 3) & (large.concept_labels[:, 49] == 1)).sum())
    assert len(rows) == 24
    assert seconds < 1.0  # some 10 ms; the bound leaves room for a busy machine
