"""Generated checkpoints on disk."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import msgspec
import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.artifacts import read_checkpoint
from pdiff.common.directories import require_inside
from pdiff.common.errors import InputError, UsageError
from pdiff.common.sealing import read_sealed
from pdiff.common.wording import some
from pdiff.training import BankReference

__all__ = ["FORMAT", "GENERATED", "Cost", "Generated", "Info", "RunReference"]

GENERATED = "generated.json"
FORMAT = 3


class RunReference(msgspec.Struct, frozen=True):
    """The run that models were drawn from."""

    path: str
    digest: str
    preset: str
    """Its preset, and what was changed in it."""


class Cost(msgspec.Struct, frozen=True):
    """What the generator took, in seconds."""

    once_s: float
    per_model_s: float
    gradient_evaluations: int
    """Minibatches of the networks' training data whose gradient was taken: 0 if it saw weights alone."""


class Info(msgspec.Struct, frozen=True):
    """The content of `generated.json`, written last."""

    format: int
    files: list[str]
    """One for each model: a file, or a folder of files."""
    seed: int
    run: RunReference
    bank: BankReference
    cost: Cost
    provenance: dict[str, Any]
    digests: dict[str, str] = {}
    """BLAKE3 of every file of every model."""
    keys: tuple[str, ...] = ()
    """What leads to the weights in a torch file."""
    form: str = "safetensors"
    """The format that was asked for."""
    held_out: tuple[int, ...] = ()
    """The bank's members that the run did not learn from."""


class Generated(Sequence[dict[str, Tensor]]):
    """Generated checkpoints on disk: a sized iterable of state dicts, read one at a time."""

    def __init__(self, path: Path, info: Info) -> None:
        self.path = path
        self.info = info

    @staticmethod
    def open(path: str | Path) -> "Generated":
        """Open a folder that `generate` wrote; raises `UsageError` if it is none."""
        path = Path(path)
        if not (path / GENERATED).is_file():
            raise UsageError(
                f"{path}: no generated checkpoints here (no {GENERATED}); make some with `pdiff generate`"
            )
        info = read_sealed(path / GENERATED, Info)
        if info.format != FORMAT:
            raise InputError(f"{path / GENERATED}: format {info.format}, this version reads {FORMAT}")
        require_inside(path / GENERATED, (*info.files, *info.digests))
        covered = {name.partition("/")[0] for name in info.digests}
        if bare := [name for name in info.files if name not in covered]:
            raise InputError(f"{path / GENERATED}: damaged (no digest of {some(bare)})")
        return Generated(path, info)

    @cached_property
    def bank(self) -> Bank:
        """The bank that the models were learned from; raises `InputError` if it is not the same any more."""
        return self.info.bank.open(self.path)

    def __len__(self) -> int:
        return len(self.info.files)

    @overload
    def __getitem__(self, index: int) -> dict[str, Tensor]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Tensor]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        if isinstance(index, slice):
            return [self._read(name) for name in self.info.files[index]]
        return self._read(self.info.files[index])

    def check(self, index: int) -> None:
        """Raise `InputError` if a file of model `index` is missing or not what `generate` wrote."""
        name = self.info.files[index]
        for file, digest in self.info.digests.items():
            if file.partition("/")[0] != name:
                continue
            path = self.path / file
            try:
                same = _core.digest_file(path) == digest
            except FileNotFoundError:
                raise InputError(f"{path}: missing; generate wrote it, and {GENERATED} names it") from None
            if not same:
                raise InputError(f"{path}: not what generate wrote (its digest differs)")

    def _read(self, name: str) -> dict[str, Tensor]:
        """Read the model called `name`, in whatever format it is; `InputError` if it is damaged."""
        path = self.path / name
        files = [self.path / file for file in self.info.digests if file.startswith(f"{name}/")]
        weights = [file for file in files if file.suffix != ".json"]
        return read_checkpoint(weights or [path], self.info.keys)

    def rows(self) -> Tensor:
        """Return the generated subset of every model: raw float32 [N, D]."""
        return torch.stack([self.bank.flatten(state) for state in self])
