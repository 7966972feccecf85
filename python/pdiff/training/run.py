"""Read a run: the directory that fitting a generator leaves, with all that is needed to generate from it."""

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from pdiff import _core
from pdiff.bank import Bank, View
from pdiff.bank.manifest import MANIFEST
from pdiff.common.artifacts import relative
from pdiff.common.config import AnyConfig, Config
from pdiff.common.errors import InputError, UsageError
from pdiff.common.provenance import DataAccess
from pdiff.common.sealing import read_sealed, write_sealed
from pdiff.common.wording import seconds_text, some

RUN = "run.json"
RESULT = "result.json"
FORMAT = 3


class BankReference(msgspec.Struct, frozen=True):
    """A bank by its path, relative to the folder that holds the reference, and its digest."""

    path: str
    digest: str

    def open(self, folder: Path) -> Bank:
        """Open the bank; raises `InputError` if it is not the same any more."""
        bank = Bank.open((folder / self.path).resolve())
        if bank.digest != self.digest:
            raise InputError(f"{bank.path}: the bank has changed since {folder} was made from it")
        return bank

    @staticmethod
    def of(bank: Bank, folder: Path) -> "BankReference":
        """Return a reference to `bank` for a file in `folder`."""
        return BankReference(relative(bank.path, folder), bank.digest)


class Description(msgspec.Struct, frozen=True):
    """The content of `run.json`, written before the fit begins."""

    format: int
    bank: BankReference
    config: dict[str, Any]
    """The resolved configuration, as plain values."""
    task: str = ""
    """Name of the task that was given; empty where the bank's own was taken."""

    @staticmethod
    def read(path: Path) -> "Description":
        """Read that of the run in directory `path`; raises `UsageError` if there is none."""
        if not (path / RUN).is_file():
            raise UsageError(f"{path}: no run here (no {RUN}); make one with `pdiff train`")
        return read_sealed(path / RUN, Description, FORMAT)

    def write(self, path: Path) -> None:
        """Write it to directory `path`, or check that the one that is there says the same."""
        if not (path / RUN).exists():
            write_sealed(path / RUN, self)
            return
        found = Description.read(path)
        if found.bank.digest != self.bank.digest:
            raise UsageError(
                f"{path}: begun on another bank; choose another --out, or start again with --overwrite"
            )
        ours, theirs = (
            {**Config.from_values(each.config).flat(), "task": each.task} for each in (self, found)
        )
        keys = [key for key in dict.fromkeys([*theirs, *ours]) if theirs.get(key) != ours.get(key)]
        keys = [key for key in keys if key != "check"]  # who was refused goes on without
        if keys:
            differing = some([f"{key} {theirs.get(key)!r}, now {ours.get(key)!r}" for key in keys])
            again = "name it with --task" if keys == ["task"] else "leave the options out"
            way = f"{again} to go on, choose another --out, or use --overwrite"
            raise UsageError(f"{path}: begun with {differing}; {way}")


class Result(msgspec.Struct, frozen=True):
    """The content of `result.json`, written when the fit has finished."""

    seconds: dict[str, float]
    """How long each stage took, interruptions left out."""
    facts: dict[str, float]
    """Numbers about the fit: of `latent`, `latent_dim` and `variance_explained`."""
    access: DataAccess
    digests: dict[str, str]
    """BLAKE3 of each file that the run consists of, but for this one, which ends with its own checksum."""
    provenance: dict[str, Any]
    records: dict[str, str] = {}
    """BLAKE3 of the metrics of each stage that was trained, which nothing depends on."""
    held_out: tuple[int, ...] = ()
    """The bank's members that were not learned from."""


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run on disk."""

    path: Path
    """The directory, which holds the generator's own files too."""
    bank: Bank
    config: AnyConfig
    result: Result
    digest: str
    """BLAKE3 of the description and the result, which holds the digests of the generator's files."""

    def __repr__(self) -> str:
        seconds = seconds_text(sum(self.result.seconds.values()))
        return f"<Run {self.path}: {self.config.label()}, of {len(self.members):,} checkpoints, {seconds}>"

    @staticmethod
    def open(path: str | Path) -> "Run":
        """Open a run.

        Raises `UsageError` if there is none or it is unfinished, `InputError` if it is damaged or its bank
        has changed.
        """
        path = Path(path)
        description = Description.read(path)
        if not (path / RESULT).is_file():
            how = f"pdiff train --out {shlex.quote(str(path))} --resume"
            raise UsageError(f"{path}: training has not finished; go on with `{how}`")
        result = read_sealed(path / RESULT, Result)
        for file, digest in result.digests.items():
            if _core.digest_file(path / file) != digest:
                raise InputError(f"{path / file}: not what training wrote (its digest differs)")
        digest = _core.digest((path / RUN).read_bytes() + (path / RESULT).read_bytes())
        bank = description.bank.open(path)
        return Run(path, bank, Config.from_values(description.config), result, digest)

    @cached_property
    def members(self) -> View:
        """The members that were learned from: all of the bank but those held out."""
        held_out = set(self.result.held_out)
        return self.bank.view([index for index in range(len(self.bank)) if index not in held_out])


def open_source(path: str | Path, *, bank: bool = False) -> Run | Bank:
    """Open the run or bank at `path`; where there is neither, a `bank` is missed, or else a run."""
    path = Path(path)
    if (path / MANIFEST).is_file() or (bank and not (path / RUN).is_file()):
        return Bank.open(path)
    return Run.open(path)
