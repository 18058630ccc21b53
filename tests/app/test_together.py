"""One command in several processes: one answer, one error, one process that writes to the database."""

import json
import os
import shutil
import signal
import sys
import time

import pytest
from click.exceptions import Exit
from click.testing import CliRunner, Result
from torch.distributed import DistNetworkError, HashStore

from app import jobs, store, tasks
from app.cli import main
from app.commands.together import Together, joined, told_to_end
from app.settings import Settings
from app.workspace import Workspace
from cbm.data import ImageDataset
from cbm.errors import DataError, PellucidError, UsageError
from cbm.process_group import Group
from cbm.progress import silent
from tests.cbm.colours import ColourEncoder
from tests.cbm.torchrun import started


@pytest.fixture
def pair() -> tuple[Together, Together]:
    """Two processes that are not: they only share a store."""
    common = HashStore()
    for rank in range(2):
        common.set(f"progress/{rank}", "0")
    return Together(Group(0, 2), Settings(), common), Together(Group(1, 2), Settings(), common)


def test_the_first_one_knows_how_far_all_are(pair: tuple[Together, Together]) -> None:
    leader, other = pair

    other.progress(0.5)

    assert leader.progress(0.25) == 0.375
    other.progress(1.0)
    assert leader.progress(1.0) == 1.0


def test_of_those_that_fail_one_explains(pair: tuple[Together, Together]) -> None:
    leader, other = pair

    with pytest.raises(DataError, match="broken"), other.one_error():
        raise DataError("broken")
    with pytest.raises(Exit) as ended, leader.one_error():
        raise DistNetworkError("connection closed by peer")

    assert ended.value.exit_code == 0  # else torchrun would end the one that is about to explain


def test_when_another_was_killed_the_one_that_notices_says_so(pair: tuple[Together, Together]) -> None:
    with pytest.raises(PellucidError, match="another process that works on this has ended"), pair[0].one_error():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1234")


def test_one_that_torchrun_ends_says_so_unless_another_has_explained(pair: tuple[Together, Together]) -> None:
    with pytest.raises(PellucidError, match="has ended"), pair[0].one_error(), told_to_end():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    with pytest.raises(Exit), pair[1].one_error(), told_to_end():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


def test_an_environment_that_is_half_of_torchruns_is_refused() -> None:
    with pytest.raises(UsageError, match="no LOCAL_RANK"), joined(Settings(), {"WORLD_SIZE": "2", "RANK": "0"}):
        pass


@pytest.mark.parametrize(("rank", "code", "heard"), [("0", 2, True), ("1", 0, False)])
def test_a_command_that_cannot_be_shared_refuses_once(rank: str, code: int, heard: bool) -> None:
    ended = CliRunner().invoke(main, ["data", "list"], env={"WORLD_SIZE": "2", "RANK": rank})

    assert ended.exit_code == code
    assert ("'list' cannot be shared by several processes" in ended.stderr) == heard


def test_two_processes_embed_together_answer_once_and_note_it(workspace: Workspace, tiles: ImageDataset) -> None:
    store.add_dataset(workspace, tiles, {})
    command = ("--no-python", sys.executable, "-m", "app.cli", "embed", "tiles", "--encoder", "builtin:demo", "--json")

    done = started(*command, processes=2, **workspace.settings.to_environment())

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["computed"] == 12
    assert "embedded 12 of 12 images" in done.stderr
    assert done.stderr.count("(the first of 2 processes)") >= 1
    assert store.dataset_row(workspace, "tiles").encoders == ("builtin:demo",)


@pytest.fixture
def workers(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Whenever the command line waits, one job is done here."""
    monkeypatch.setattr("app.store.load_encoder", lambda ws, id: ColourEncoder())

    def work(seconds: float) -> None:
        claim = jobs.claim(workspace, "w")
        try:
            jobs.succeed(workspace, claim, tasks.run(workspace, claim.kind, claim.params, silent))
        except PellucidError as error:
            jobs.fail(workspace, claim, error)

    monkeypatch.setattr("app.commands.embed.time.sleep", work)
    return workspace


def embed_by_workers(ws: Workspace, *more: str) -> Result:
    command = ["embed", "tiles", "--encoder", "test:colour", "--jobs", "3", "--json", *more]
    return CliRunner().invoke(main, [*command, "--workspace", str(ws.settings.home)])


def test_workers_embed_in_parts_and_the_command_line_says_what_they_did(
    workers: Workspace, many_tiles: ImageDataset
) -> None:
    store.add_dataset(workers, many_tiles, {})

    first, again = embed_by_workers(workers), embed_by_workers(workers)

    answers = [json.loads(done.stdout) for done in (first, again)]
    assert [(answer["computed"], answer["reused"]) for answer in answers] == [(700, 0), (0, 700)]
    assert [part.result["computed"] for part in jobs.parts(workers, answers[0]["job"])] == [256, 256, 188]
    assert "waits for workers" in first.stderr
    assert store.dataset_row(workers, "tiles").encoders == ("test:colour",)


def test_a_job_that_fails_is_a_failed_command(workers: Workspace, tiles: ImageDataset) -> None:
    store.add_dataset(workers, tiles, {})
    shutil.rmtree(workers.folder("manifests"))

    done = embed_by_workers(workers)

    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["message"]


def test_an_unknown_data_set_is_refused_before_anything_waits(workers: Workspace) -> None:
    assert embed_by_workers(workers).exit_code == 1
    assert jobs.jobs(workers) == []
