"""One command in several processes that `torchrun` started: who is who, how far all are, and how all end as one.

The processes meet in a `cbm.process_group.Group`, and beside it in torchrun's own key-value store: there each leaves how
far it is and whether it failed, without waiting for the others. Nothing here is imported when a command runs alone.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

from app.settings import Settings
from cbm.errors import PellucidError, UsageError

if TYPE_CHECKING:
    from cbm.process_group import Group

KEPT = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
VERSIONS = ("pellucid", "torch", "numpy")
TELL_SECONDS = 0.5


@dataclass
class Together:
    """This process among those that do one command.

    Attributes
    ----------
    group
        For the library.
    settings
        Of this process: its own CUDA device.
    store
        Where all can read what each has left.
    """

    group: "Group"
    settings: Settings
    store: Any
    _told: float = field(default=float("-inf"))

    def progress(self, fraction: float) -> float:
        """Leave how far this process is; how far all are, on average, where that is asked."""
        clock = time.monotonic()
        if self.group.leads or fraction >= 1 or clock - self._told > TELL_SECONDS:
            self._told = clock
            self.store.set(f"progress/{self.group.rank}", str(fraction))
        if not self.group.leads:
            return fraction
        told = self.store.multi_get([f"progress/{rank}" for rank in range(self.group.size)])
        return sum(map(float, told)) / self.group.size

    @contextmanager
    def one_error(self) -> Iterator[None]:
        """Of the processes that fail, the first one explains; the others end as if nothing were.

        An exit code other than 0 would make torchrun end the one that is about to explain. Wrong usage is the same in
        all processes, and explained by the leader; see `app.cli`.
        """
        try:
            yield
        except (click.UsageError, UsageError):
            raise
        except BaseException as error:
            try:
                first = self.store.add("failed", 1) == 1
            except RuntimeError:  # the store is gone, and with it the process that kept it
                first = False
            if first and _lost_another(error):
                raise _ended() from error
            if first:
                raise
            raise click.exceptions.Exit(0) from error


@contextmanager
def joined(settings: Settings, environ: Mapping[str, str] = os.environ) -> Iterator[Together]:
    """Join the processes that `torchrun` announces in the environment.

    Raises
    ------
    UsageError
        If the environment is not torchrun's.
    PellucidError
        If there are fewer CUDA devices than processes on this host, or the processes run different versions.
    """
    from torch.distributed import PrefixStore, TCPStore

    from cbm.process_group import joined_group

    missing = [name for name in KEPT if name not in environ]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is {environ['WORLD_SIZE']}, but there is no {' and no '.join(missing)}",
            hint="start with: torchrun --standalone --no-python --nproc-per-node 2 pellucid ...",
        )
    settings, backend = _device(settings, int(environ["LOCAL_RANK"]), int(environ["LOCAL_WORLD_SIZE"]))
    with joined_group(backend) as group:
        common = TCPStore(environ["MASTER_ADDR"], int(environ["MASTER_PORT"]), is_master=False)
        store = PrefixStore(f"pellucid/{environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", common)
        together = Together(group, settings, store)
        store.set(f"progress/{group.rank}", "0")
        with together.one_error(), told_to_end():
            _same_versions(group.gather({name: version(name) for name in VERSIONS}))
            yield together


@contextmanager
def told_to_end() -> Iterator[None]:
    """torchrun ends all processes when one has ended; of one that was killed, only another can tell."""

    def end(*_: object) -> None:
        raise _ended()

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ended() -> PellucidError:
    return PellucidError(
        "another process that works on this has ended, or all were told to end",
        hint="run the same command again to go on; torchrun's report says which process ended",
    )


def _device(settings: Settings, local_rank: int, local_size: int) -> tuple[Settings, str]:
    """A CUDA device for each process, where those of the settings are CUDA devices; and how the processes talk."""
    import torch

    if settings.device not in ("auto", "cuda") or not torch.cuda.is_available():
        return settings, "gloo"
    devices = torch.cuda.device_count()
    if local_rank >= devices:
        raise PellucidError(
            f"{local_size} processes on one host share {devices} CUDA devices",
            hint=f"say --nproc-per-node {devices}, or --device cpu",
        )
    torch.cuda.set_device(local_rank)
    return replace(settings, device=f"cuda:{local_rank}"), "cpu:gloo,cuda:nccl"


def _same_versions(versions: list[dict[str, str]]) -> None:
    for name in versions[0]:
        found = sorted({there[name] for there in versions})
        if len(found) > 1:
            raise PellucidError(
                f"the processes run different versions of {name}: {', '.join(found)}",
                hint="install the same on every host",
            )


def _lost_another(error: BaseException) -> bool:
    """Whether this is what the network layer says when the process at the other end is gone."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
