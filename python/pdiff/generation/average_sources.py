"""Give the rows of what is averaged, whether they lie in checkpoint files or in a bank."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pdiff import _core
from pdiff._core import Layout
from pdiff.bank import Bank
from pdiff.bank.intake import find_task
from pdiff.bank.manifest import MANIFEST, Source, TaskRef
from pdiff.bank.reading import Request, read_group
from pdiff.bank.rows import restore
from pdiff.bank.selection import floating
from pdiff.bank.writer import describe_source, read_companions
from pdiff.checkpoints.records import stored_bytes
from pdiff.common.artifacts import read_checkpoint
from pdiff.common.errors import InputError, UsageError
from pdiff.common.progress import Progress

State = dict[str, Tensor]
Sums = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]


def open_source(request: Request, progress: Progress) -> "CheckpointFiles | BankRows":
    """Open a bank, or checkpoints as `collect` does; raises `InputError`, `UsageError`."""
    banks = [root for root in request.roots if (root / MANIFEST).is_file()]
    if not banks:
        return CheckpointFiles(request, progress)
    if len(request.roots) > 1:
        raise UsageError(f"{banks[0]}: is a bank; average one bank, or files and folders of checkpoints")
    return BankRows(Bank.open(banks[0]))


class CheckpointFiles:
    """Checkpoints of one network, read as rows of all their floating tensors."""

    def __init__(self, request: Request, progress: Progress) -> None:
        group = read_group(request, progress)
        self._checkpoints = group.checkpoints
        self._tensors = group.example.header.tensors
        modelled = floating(self._tensors)
        if not modelled:
            raise InputError(f"{group.checkpoints[0].source}: no floating tensors, so nothing to average")
        self.layout = Layout([(t.name, t.dtype, t.shape) for t in modelled])
        self.files: Source = describe_source(group.example)
        self.companions: Mapping[str, bytes] = read_companions(group.example.candidate)
        self.names = [checkpoint.source for checkpoint in group.checkpoints]
        self.model_bytes = stored_bytes(self._tensors)
        self.task: TaskRef | None = find_task(request.roots)

    def add(
        self, indices: Sequence[int], weights: Sequence[float], sums: Sums, samples: Samples, stride: int
    ) -> None:
        """Add the weighted rows of these checkpoints to `sums` [D], and keep every `stride`-th number."""
        origins = [self._checkpoints[index].origin for index in indices]
        _core.add_rows(self.layout, origins, weights, sums, samples, stride)

    def state_dict(self, row: Tensor, index: int) -> State:
        """Return a complete checkpoint: `row` [D], and everything else from checkpoint `index`."""
        state = self.member(index) | restore(self.layout, row)
        return state | {t.name: state[t.tied_to] for t in self._tensors if t.tied_to is not None}

    def member(self, index: int) -> State:
        """Read checkpoint `index`."""
        origin = self._checkpoints[index].origin
        return read_checkpoint(origin.files, origin.keys)


class BankRows:
    """The members of a bank."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.layout = bank.layout
        self.files: Source = bank.manifest.source
        self.companions: Mapping[str, bytes] = bank.companions()
        self.names = [member.source for member in bank.members]
        self.model_bytes = (bank.path / bank.manifest.base.file).stat().st_size
        self.task: TaskRef | None = bank.task

    def add(
        self, indices: Sequence[int], weights: Sequence[float], sums: Sums, samples: Samples, stride: int
    ) -> None:
        """Add the weighted rows of these members to `sums` [D], and keep every `stride`-th number."""
        for sample, index, weight in zip(samples, indices, weights, strict=True):
            row = self._bank.batch([index])[0].numpy()
            sums += weight * row.astype(np.float64)
            sample[:] = row[::stride]

    def state_dict(self, row: Tensor, index: int) -> State:
        """Return a complete checkpoint: `row` [D] and the bank's base."""
        return self._bank.state_dict(row)

    def member(self, index: int) -> State:
        """Read member `index`."""
        return self._bank.state_dict(self._bank.batch([index])[0])
