"""The processes that work on one job together: those that `torchrun` started, or this one alone.

Library functions take a `Group` and are written for one: what each process does alone is cut by `share`, what all must
agree on is summed by `sum_`. In a group of one both cost nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

__all__ = ["ALONE", "Group", "joined_group"]


@dataclass(frozen=True)
class Group:
    """A process and how many there are.

    Attributes
    ----------
    rank
        Of this process, from 0.
    size
        Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that speaks and writes for all."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Which of `count` numbered pieces of work this process does: every `size`-th."""
        return range(self.rank, count, self.size)

    def sum_(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over all processes; must be called by all, with equal shapes."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def max_(self, *tensors: Tensor) -> None:
        """Replace each tensor by its largest values over all processes; otherwise as `sum_`."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)

    def from_leader_(self, *tensors: Tensor) -> None:
        """Replace each tensor by the first process's, so that all go on from the same bits."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    def gather(self, value: Any) -> list[Any]:
        """The value that each process gave, by rank, in all processes; small picklable values of our own only."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            torch.distributed.barrier()


ALONE = Group()
PATIENCE = timedelta(days=1)  # that one may wait for the slowest; of one that died, the others hear at once


@contextmanager
def joined_group(backend: str = "gloo") -> Iterator[Group]:
    """The group that `torchrun` announces in the environment, left at the end.

    Parameters
    ----------
    backend
        "gloo" for processors, "cpu:gloo,cuda:nccl" for CUDA devices.
    """
    # Optimisers import it. If that happens in a group, the group is never let go: its threads outlive it, and now and then
    # they abort a process that has finished its work.
    import torch._dynamo

    torch.distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Group(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
