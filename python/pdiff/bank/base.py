"""Tell which checkpoint is the base, from which everything is taken that is not generated."""

from collections.abc import Sequence
from pathlib import Path

from pdiff.checkpoints import difference, open_one
from pdiff.checkpoints.parts import holds, holds_more
from pdiff.checkpoints.records import Checkpoint, Choice, Example, Group
from pdiff.common.errors import InputError
from pdiff.common.progress import Progress


def open_base(base: Path, choice: Choice, example: Example) -> Example:
    """Open the checkpoint `base`, which must hold every tensor of `example`, and may hold others besides.

    `choice` is for torch files; a safetensors file holds one set of weights. Raises `InputError`.
    """
    try:
        found = open_one(base, Choice() if base.suffix == ".safetensors" else choice)
    except InputError as error:
        raise InputError(f"{error} (--base)") from None
    if not holds(found, example):
        raise InputError(f"{base} {difference(example, found)}; --base must be of the same network")
    return found


def beside_base(others: Sequence[Group], example: Example, base: Path, progress: Progress) -> list[Group]:
    """Return the groups beside members like `example` that the user has to decide about, given a base.

    The base itself is no member, nor is a whole network beside it, which is said to be left out.
    """
    undecided = []
    for group in others:
        alone, named = len(group.checkpoints) == 1, any(is_at(each, base) for each in group.checkpoints)
        if (alone and named) or ((alone or named) and holds_more(group.example, example)):
            for each in group.checkpoints:
                if not is_at(each, base):
                    progress.message(f"left out {each.source}: a whole network, and {base} is the base")
        else:
            undecided.append(group)
    return undecided


def is_at(checkpoint: Checkpoint, path: Path) -> bool:
    """Return whether a checkpoint is the one file at `path`."""
    return {Path(file).resolve() for file in checkpoint.origin.files} == {path.resolve()}
