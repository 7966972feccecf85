"""Export rows of a bank, or generated models, as checkpoint files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from pdiff.bank import Bank
from pdiff.bank.manifest import MANIFEST
from pdiff.common.directories import refuse_directory, require_space, staged_directory
from pdiff.common.errors import UsageError
from pdiff.common.progress import AnyProgress, Tracker, as_progress
from pdiff.common.sealing import write_sealed
from pdiff.common.wording import counted
from pdiff.generation.formats import (
    FileFormat,
    Model,
    generated_by,
    model_bytes,
    model_name,
    write_models,
    written_as,
)
from pdiff.generation.generated import GENERATED, Generated

EXPORTED = "export.json"
EXPORT_FORMAT = 1


class Exported(msgspec.Struct, frozen=True):
    """The content of `export.json`, written last."""

    format: int
    digest: str
    """Of the bank, or of the generator, that the models are from."""
    members: list[int]
    """Their indices there."""
    files: list[str]
    """One for each model: a file, or a folder of files."""
    digests: dict[str, str]
    """BLAKE3 of every file of every model."""


def export(
    source: Bank | Generated | str | Path,
    out: str | Path = "exported",
    *,
    members: Sequence[int] | None = None,
    format: FileFormat = "safetensors",  # noqa: A002 (the name of the option)
    overwrite: bool = False,
    progress: AnyProgress = None,
) -> list[Path]:
    """Write members of a bank, or generated models (rows or files), as checkpoint files to directory `out`.

    Returns a file, or a folder of files, for each of `members`, by default all; formats are those of
    `generate`. A generated model gives the file that `generate` would have written. Raises `UsageError` for a
    folder that is neither, a member that is not there or one named twice.
    """
    out = Path(out)
    found = _open(source) if isinstance(source, str | Path) else source
    indices = list(range(len(found)) if members is None else members)
    _check(indices, found)
    bank = found if isinstance(found, Bank) else found.stored or found.bank
    written_as(bank.manifest.source, format)
    refuse_directory(out, EXPORTED, overwrite)
    require_space(out, len(indices) * model_bytes(bank))
    with staged_directory(out, EXPORTED, overwrite) as staged:
        with as_progress(progress).track("Exporting", len(indices), "model") as tracker:
            files, digests = write_models(
                bank.manifest.source, bank.companions(), format, staged, _models(found, indices, tracker)
            )
        digest = found.digest if isinstance(found, Bank) else found.info.generator.digest
        write_sealed(staged / EXPORTED, Exported(EXPORT_FORMAT, digest, indices, files, digests))
    return [out / file for file in files]


def _open(path: str | Path) -> Bank | Generated:
    path = Path(path)
    if (path / GENERATED).is_file():
        return Generated.open(path)
    if (path / MANIFEST).is_file():
        return Bank.open(path)
    raise UsageError(f"{path}: neither a bank nor generated checkpoints (no {MANIFEST} or {GENERATED})")


def _check(indices: Sequence[int], found: Bank | Generated) -> None:
    if not indices:
        raise UsageError("no members to export; accepted: at least 1")
    if len(set(indices)) < len(indices):
        raise UsageError("a member is named twice")
    for index in indices:
        if not 0 <= index < len(found):
            raise UsageError(
                f"member {index} of {counted(len(found), 'model')}; accepted: 0 to {len(found) - 1}"
            )


def _models(found: Bank | Generated, indices: Sequence[int], tracker: Tracker) -> Iterator[Model]:
    for index in indices:
        if isinstance(found, Bank):
            about = {"format": "pt", "pdiff.bank": found.digest, "pdiff.index": str(index)}
            yield model_name(index, len(found), "member"), found.complete(found.gathered([index])[0]), about
        else:
            about = generated_by(found.info.generator.digest, found.info.seed, index)
            yield model_name(index, len(found)), found.arrays(index), about
        tracker.advance()
