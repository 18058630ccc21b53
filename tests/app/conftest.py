"""Workspaces for the tests of `app`: `ws` on SQLite and on PostgreSQL in turn, `workspace` on SQLite only."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
import torch
from PIL import Image as Picture

from app import store
from app.settings import Settings
from app.workspace import Workspace, open_workspace
from cbm.bank import ConceptBank, Origin, Quality
from cbm.bottleneck import LinearBottleneck
from cbm.data import ImageDataset
from cbm.embeddings import embed_images
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe


def _programs() -> Path | None:
    found = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return Path(found).parent if found else versions[-1].parent if versions else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of an empty PostgreSQL server of our own, or the one named by PELLUCID_TEST_POSTGRES."""
    if os.environ.get("PELLUCID_TEST_POSTGRES"):
        yield os.environ["PELLUCID_TEST_POSTGRES"]
        return
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pellucid-pg-"))
    as_user = []
    if os.getuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def call(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")

    data, pg_ctl = str(folder / "data"), str(programs / "pg_ctl")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off -c max_connections=60"
    call(str(programs / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    try:
        call(pg_ctl, "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        call(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database; "" means SQLite in the workspace."""
    if request.param == "sqlite":
        yield ""
        return
    server = request.getfixturevalue("postgres_server")
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings for quick tests: signs of life every tenth of a second."""
    return quick_settings(tmp_path / "home", database_url)


@pytest.fixture
def ws(settings: Settings) -> Iterator[Workspace]:
    """An empty workspace, once on each database."""
    ws = open_workspace(settings)
    yield ws
    ws.close()


@pytest.fixture
def second_workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Another empty workspace on SQLite, to compare with."""
    ws = open_workspace(quick_settings(tmp_path / "second", ""))
    yield ws
    ws.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace on SQLite, for tests that do not care about the database."""
    ws = open_workspace(quick_settings(tmp_path / "home", ""))
    yield ws
    ws.close()


def quick_settings(home: Path, database_url: str) -> Settings:
    """Settings whose workers notice everything within a second."""
    return Settings(
        home=home,
        database_url=database_url,
        heartbeat=0.1,
        dead_after=3.0,
        grace=1.0,
        max_attempts=2,
        extensions="slow_jobs",
    )


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its workers import `slow_jobs`."""
    here = Path(__file__).parent
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", str(here))


@pytest.fixture
def tiles(tmp_path: Path) -> ImageDataset:
    """Twelve pictures of one colour each, outside of the workspace."""
    return make_dataset(tmp_path / "tiles", 12)


@pytest.fixture
def many_tiles(tmp_path: Path) -> ImageDataset:
    """Seven hundred of them: three shards of embeddings."""
    return make_dataset(tmp_path / "tiles", 700)


@pytest.fixture
def animal_model() -> ConceptModel:
    """A model of tigers and whales."""
    return make_model(1.0)


@pytest.fixture
def other_model() -> ConceptModel:
    """The same with other numbers."""
    return make_model(2.0)


@pytest.fixture
def parts() -> ConceptBank:
    """Two concepts, one of them weak."""
    return make_bank()


def make_dataset(folder: Path, n: int) -> ImageDataset:
    """Small pictures of one colour each; every third one is of class "red", every second one in "val"."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03d}.png" for i in range(n)]
    for i, path in enumerate(paths):
        Picture.new("RGB", (20, 10), (i % 256, 100 + i // 256, 17)).save(path)
    labels = np.array([0 if i % 3 == 0 else 1 for i in range(n)], np.int64)
    known = np.stack([np.arange(n) % 2, np.where(np.arange(n) < 3, np.nan, 1.0)], axis=1).astype(np.float32)
    return ImageDataset(
        name="tiles",
        ids=tuple(f"tile/{i:03d}" for i in range(n)),
        paths=tuple(paths),
        labels=labels,
        classes=("red", "blue"),
        splits=np.array(["val" if i % 2 else "train" for i in range(n)]),
        concepts=("odd", "late"),
        concept_labels=known,
        groups=tuple("north" if i < n // 2 else "south" for i in range(n)),
        hashes=tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths),
        meta={"meta:camera": tuple(f"camera {i % 2}" for i in range(n))},
    )


def make_model(value: float) -> ConceptModel:
    """Three concepts that are the three directions of the embedding, and two classes."""
    return ConceptModel(
        concepts=("stripes", "spots", "water"),
        classes=("tiger", "whale"),
        bottleneck=LinearBottleneck(torch.eye(3) * value, torch.zeros(3)),
        head=LinearHead(torch.tensor([[2.0, 1.0, -1.0], [-1.0, 0.0, 3.0]]), torch.zeros(2)),
        recipe=Recipe(method="posthoc", encoder_id="test:colour", contract="c" * 64, images=12),
    )


def make_bank() -> ConceptBank:
    """Two text concepts, one of them weak."""
    return ConceptBank(
        names=("stripes", "water"),
        vectors=torch.eye(3)[:2],
        intercepts=torch.zeros(2),
        origin=(Origin("text", "stripes"), Origin("annotation", "tiles")),
        quality=(Quality(auroc=0.9), Quality(auroc=0.7, note="only 4 positive images")),
        encoder_id="test:colour",
        contract="c" * 64,
    )


@pytest.fixture
def birds(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Three rendered birds, embedded with the demo encoder, and the model "birds-text" whose concepts are texts."""
    from assets.birds import render_bird, sample_mix
    from cbm.encoders import load_encoder

    encoder, rng = load_encoder("builtin:demo"), np.random.default_rng(0)
    paths = tuple(tmp_path / f"{i}.png" for i in range(3))
    for path in paths:
        Picture.fromarray(render_bird(sample_mix(rng), rng)[0]).save(path)
    hashes = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    ids, splits = tuple(path.name for path in paths), np.array(["train", "val", "test"])
    dataset = ImageDataset("birds", ids, paths, np.array([0, 1, 0]), ("tern", "wren"), splits, hashes=hashes)
    store.add_dataset(workspace, dataset, {})
    embed_images(dataset, encoder, store.embedding_store(workspace))
    store.mark_embedded(workspace, "birds", encoder.id, encoder.contract)
    concepts = ("water background", "forked tail", "red_crown")
    texts = encoder.encode_texts([f"a bird with a {concept}" for concept in concepts])
    model = ConceptModel(
        concepts,
        dataset.classes,
        LinearBottleneck(texts - texts.mean(0), torch.zeros(3)),
        LinearHead(torch.tensor([[1.0, 2.0, 0.5], [-1.0, 0.0, 0.0]]), torch.zeros(2)),
        Recipe("zero-shot", encoder_id=encoder.id, contract=encoder.contract, images=1),
    )
    store.add_model(workspace, "birds-text", model, dataset="birds")
    return workspace
