"""Check that what is on disk is still, bit for bit, what `pdiff` wrote there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pdiff import _core
from pdiff.bank import Bank
from pdiff.bank.manifest import MANIFEST, Manifest
from pdiff.common.errors import InputError, UsageError
from pdiff.common.sealing import read_sealed
from pdiff.generation.extract import EXPORT_FORMAT, EXPORTED, Exported
from pdiff.generation.generated import GENERATED, Generated
from pdiff.training.run import FORMAT, RESULT, RUN, Description, Result


@dataclass
class Verification:
    """The outcome for one directory."""

    path: Path
    kind: str
    """`bank`, `run`, `generated` or `exported`."""
    files: int = 0
    """Files that were checked."""
    size: int = 0
    """Bytes of those that are there."""
    bad: list[str] = field(default_factory=list)
    """What is missing or not as it was written, one line each."""

    def check(self, digests: Mapping[str, str]) -> None:
        """Read files of the directory whole and compare their digests."""
        for file, digest in digests.items():
            self.files += 1
            try:
                self.size += (self.path / file).stat().st_size
                if _core.digest_file(self.path / file) != digest:
                    self.bad.append(f"{file}: its digest differs")
            except FileNotFoundError:
                self.bad.append(f"{file}: missing")
            except OSError as error:
                self.bad.append(f"{file}: {error.strerror}")

    def count(self, file: str) -> None:
        """Count a file that is checked by its own checksum."""
        self.files += 1
        self.size += (self.path / file).stat().st_size


def verify(path: str | Path) -> Verification:
    """Read every file that a bank, a run or a folder of generated or exported checkpoints consists of.

    Of a bank, and of models that are rows, also the rows are counted; a run must belong to the bank that it
    names. Files that are there besides are not looked at. Raises `UsageError` if `path` is none of these.
    """
    path = Path(path)
    for marker, kind, check in (
        (GENERATED, "generated", _generated),  # before the bank that it may be too
        (MANIFEST, "bank", _bank),
        (RUN, "run", _run),
        (EXPORTED, "exported", _exported),
    ):
        if (path / marker).is_file():
            verification = Verification(path, kind)
            verification.count(marker)
            try:
                check(verification)
            except InputError as error:
                verification.bad.append(str(error))
            except OSError as error:
                verification.bad.append(f"{error.filename}: {error.strerror}")
            return verification
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    markers = f"{MANIFEST}, {RUN}, {GENERATED} or {EXPORTED}"
    raise UsageError(f"{path}: nothing that pdiff can verify (no {markers})")


def _bank(found: Verification) -> None:
    manifest, _ = Manifest.read(found.path)
    found.check({entry.file: entry.digest for entry in manifest.files()})
    if not found.bad:  # else it says again what is known
        Bank.open(found.path)


def _run(found: Verification) -> None:
    description = read_sealed(found.path / RUN, Description, FORMAT)
    if not (found.path / RESULT).is_file():
        raise InputError(f"{RESULT}: missing; training has not finished")
    found.count(RESULT)
    result = read_sealed(found.path / RESULT, Result)
    found.check({file: digest for file, digest in (result.digests | result.records).items() if file != RUN})
    if result.digests.get(RUN) != _core.digest_file(found.path / RUN):
        raise InputError(f"{RUN}: its digest differs")
    try:
        description.bank.open(found.path)
    except UsageError as error:
        raise InputError(str(error)) from None


def _generated(found: Verification) -> None:
    generated = Generated.open(found.path)
    found.check(generated.info.digests)
    if not found.bad:
        _ = generated.stored


def _exported(found: Verification) -> None:
    found.check(read_sealed(found.path / EXPORTED, Exported, EXPORT_FORMAT).digests)
