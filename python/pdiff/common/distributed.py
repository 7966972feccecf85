"""Share work between the processes that `torchrun` started; a process alone is rank 0 of 1."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist

from pdiff.common.errors import UsageError

Item = TypeVar("Item")


@contextmanager
def group() -> Iterator[None]:
    """Join the processes that `torchrun` started, if it did and nobody has, while the block runs."""
    joins = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized()
    if joins:
        dist.init_process_group("gloo")
    try:
        yield
    finally:
        if joins:
            dist.destroy_process_group()


def is_main() -> bool:
    """Return whether this is the process that speaks and writes."""
    return not _together() or dist.get_rank() == 0


def choose_device(name: str | None) -> torch.device:
    """Return the device of that name, or a GPU if there is one; `UsageError` for one that is not there.

    Of several GPUs each process of `torchrun` gets one in turn, unless the name has a number.
    """
    if name in {None, "cuda"} and torch.cuda.is_available():
        rank = os.environ.get("LOCAL_RANK")  # by which `torchrun` numbers the processes of one machine
        return torch.device("cuda" if rank is None else f"cuda:{int(rank) % torch.cuda.device_count()}")
    if name is None:
        return torch.device("cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: not available ({str(error).splitlines()[0]})") from None


def share(items: Sequence[Item]) -> Sequence[Item]:
    """Return this process's share: every item is in that of exactly one process."""
    return items[dist.get_rank() :: dist.get_world_size()] if _together() else items


def everyones(items: list[Item]) -> list[Item]:
    """Return what all processes give, in each of them; all of them have to call this."""
    if not _together():
        return items
    lists: list[list[Item]] = [[]] * dist.get_world_size()
    dist.all_gather_object(lists, items)
    return [item for each in lists for item in each]


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
