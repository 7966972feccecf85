"""Read generated checkpoints from disk."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import msgspec

from pdiff import _core
from pdiff.bank import Bank
from pdiff.bank.manifest import Condition
from pdiff.checkpoints.listing import is_weights
from pdiff.common.arrays import Arrays, read_weights
from pdiff.common.directories import require_inside
from pdiff.common.errors import InputError, UsageError
from pdiff.common.provenance import DataAccess
from pdiff.common.sealing import read_sealed
from pdiff.common.wording import counted, some
from pdiff.training.run import BankReference

if TYPE_CHECKING:
    from torch import Tensor

GENERATED = "generated.json"
FORMAT = 4
CONDITIONS = "conditions.jsonl"
"""What models were asked for, as `generate --conditions` reads it."""
ROWS = "rows"
"""The form in which the models are the rows of a bank, in the folder itself."""


class GeneratorReference(msgspec.Struct, frozen=True):
    """What models were drawn from."""

    family: str
    label: str
    """The preset, and what was changed in it."""
    path: str
    """The run, relative to the folder; empty where a generator was fitted to the bank for this."""
    digest: str
    """Of the run; without one, BLAKE3 of the bank's digest and the configuration."""
    config: dict[str, Any]
    """The resolved configuration, as plain values."""


class Cost(msgspec.Struct, frozen=True):
    """What the generator took, in seconds."""

    once_s: float
    per_model_s: float


class Info(msgspec.Struct, frozen=True):
    """The content of `generated.json`, written last."""

    format: int
    files: list[str]
    """One for each model: a file, a folder of files, or the name of a row."""
    seed: int
    generator: GeneratorReference
    bank: BankReference
    access: DataAccess
    cost: Cost
    provenance: dict[str, Any]
    digests: dict[str, str] = {}
    """BLAKE3 of every file of every model; of rows, of every file of their bank."""
    keys: tuple[str, ...] = ()
    """What leads to the weights in a torch file."""
    form: str = "safetensors"
    """The format that was asked for."""
    conditions: list[dict[str, Condition]] = []
    """What was asked for: of model i the i-th, beginning again after the last."""
    left_out: dict[str, str] = {}
    """Names of models that could not be used, each with why."""
    held_out: tuple[int, ...] = ()
    """The bank's members that were not learned from."""

    @property
    def indices(self) -> list[int]:
        """The index of each model among all that were drawn."""
        missing = {int(name.rpartition("-")[2]) for name in self.left_out}
        return [index for index in range(len(self.files) + len(missing)) if index not in missing]


class Generated(Sequence["dict[str, Tensor]"]):
    """Generated checkpoints on disk: a sized iterable of state dicts, read one at a time."""

    def __init__(self, path: Path, info: Info) -> None:
        self.path = path
        self.info = info
        self._intact: set[str] = set()

    @staticmethod
    def open(path: str | Path) -> "Generated":
        """Open a folder that `generate` wrote.

        Raises `UsageError` if it is none, `InputError` if it is damaged.
        """
        path = Path(path)
        if not path.exists():
            raise UsageError(f"{path}: no such folder; `pdiff generate` makes one")
        if not (path / GENERATED).is_file():
            raise UsageError(
                f"{path}: no generated checkpoints here (no {GENERATED}); make some with `pdiff generate`"
            )
        info = read_sealed(path / GENERATED, Info, FORMAT)
        require_inside(path / GENERATED, (*info.files, *info.digests))
        if info.form != ROWS:
            covered = {name.partition("/")[0] for name in info.digests}
            if bare := [name for name in info.files if name not in covered]:
                raise InputError(f"{path / GENERATED}: damaged (no digest of {some(bare)})")
        return Generated(path, info)

    @cached_property
    def bank(self) -> Bank:
        """The bank that the models were learned from; raises `InputError` if it is not the same any more."""
        return self.info.bank.open(self.path)

    @cached_property
    def stored(self) -> Bank | None:
        """The bank in the folder itself, whose members the models are; None for models that are files."""
        if self.info.form != ROWS:
            return None
        found = Bank.open(self.path)
        if len(found) != len(self):
            raise InputError(f"{self.path}: {len(found)} rows, but {GENERATED} names {len(self)} models")
        return found

    def __len__(self) -> int:
        return len(self.info.files)

    def __repr__(self) -> str:
        made = f"{counted(len(self), 'checkpoint')} of {self.info.generator.label}, seed {self.info.seed}"
        return f"<Generated {self.path}: {made}>"

    @overload
    def __getitem__(self, index: int) -> "dict[str, Tensor]": ...

    @overload
    def __getitem__(self, index: slice) -> "list[dict[str, Tensor]]": ...

    def __getitem__(self, index: int | slice) -> "dict[str, Tensor] | list[dict[str, Tensor]]":
        if isinstance(index, slice):
            return [self._state_dict(i) for i in range(len(self))[index]]
        return self._state_dict(range(len(self))[index])

    def row(self, index: int) -> "Tensor":
        """Return the generated subset of model `index`: raw float32 [D]; nothing else is read.

        Raises `IndexError`, and `InputError` for a damaged file.
        """
        index = range(len(self))[index]
        if self.stored is not None:
            return self.stored.batch([index])[0]
        from pdiff.common.tensors import read_checkpoint  # noqa: PLC0415 (imports torch)

        names = {segment.name for segment in self.bank.layout.segments}
        return self.bank.flatten(read_checkpoint(self._weights(index), self.info.keys, names))

    def rows(self) -> "Tensor":
        """Return the generated subset of every model: raw float32 [N, D]."""
        if self.stored is not None:
            return self.stored.batch(range(len(self)))
        import torch  # noqa: PLC0415 (models are exported without it)

        return torch.stack([self.row(index) for index in range(len(self))])

    def check(self, index: int) -> None:
        """Raise `InputError` if a file of model `index` is missing or not what `generate` wrote.

        The files of rows, which all models share, are read once.
        """
        name, shared = self.info.files[index], self.stored is not None
        for file, digest in self.info.digests.items():
            if file in self._intact or not (shared or file.partition("/")[0] == name):
                continue
            path = self.path / file
            try:
                same = _core.digest_file(path) == digest
            except FileNotFoundError:
                raise InputError(f"{path}: missing; generate wrote it, and {GENERATED} names it") from None
            if not same:
                raise InputError(f"{path}: not what generate wrote (its digest differs)")
            if shared:
                self._intact.add(file)

    def arrays(self, index: int) -> Arrays:
        """Read model `index` without torch, in whatever format it is; `InputError` if it is damaged."""
        if self.stored is not None:
            return self.stored.complete(self.stored.gathered([index])[0])
        return read_weights(self._weights(index), self.info.keys)

    def _state_dict(self, index: int) -> "dict[str, Tensor]":
        from pdiff.common.tensors import to_tensors  # noqa: PLC0415 (imports torch)

        return to_tensors(self.arrays(index))

    def _weights(self, index: int) -> list[Path]:
        """Return the files that hold the tensors of model `index`."""
        name = self.info.files[index]
        files = [self.path / file for file in self.info.digests if file.startswith(f"{name}/")]
        return [file for file in files if is_weights(file.name)] or [self.path / name]
