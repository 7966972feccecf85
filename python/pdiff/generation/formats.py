"""Write checkpoints as safetensors, as torch files, the way that their source was, or as rows of a bank."""

import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from pdiff import _core
from pdiff.bank import Bank
from pdiff.bank.manifest import (
    AGENT,
    AVERAGE_COUNT,
    BASE,
    MANIFEST,
    METADATA,
    REST,
    SHARDS,
    SOURCE,
    STATISTICS,
    FileEntry,
    Member,
    ShardEntry,
    Source,
)
from pdiff.bank.rows import restore
from pdiff.bank.writer import write_statistics
from pdiff.checkpoints.agents import with_policy
from pdiff.common.arrays import Array, write_arrays
from pdiff.common.errors import InputError, unknown

FileFormat = Literal["safetensors", "pth", "source"]
FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
Format = Literal[FileFormat, "rows"]
FORMATS: tuple[Format, ...] = (*FILE_FORMATS, "rows")

_ENDINGS = {"safetensors": ".safetensors", "torch": ".pth", "torch-legacy": ".pth"}
"""How the names of files end whose source does not say it."""
_SHARD_BYTES = 64 * 2**20

State = Mapping[str, Array]
Model = tuple[str, State, Mapping[str, str]]
"""Name, tensors under plain names, and what a safetensors file says of it."""
Drawn = tuple[int, str, npt.NDArray[np.float32]]
"""Index, name and raw row [D] of a model."""


def model_name(index: int, count: int, kind: str = "model") -> str:
    """Return the name of model `index` of `count`; names sort in the order of the indices."""
    return f"{kind}-{index:0{max(4, len(str(count - 1)))}d}"


def generated_by(digest: str, seed: int, index: int) -> dict[str, str]:
    """Return what a safetensors file says of a generated model in it."""
    return {"format": "pt", "pdiff.generator": digest, "pdiff.seed": str(seed), "pdiff.index": str(index)}


def write_models(
    source: Source, companions: Mapping[str, bytes], fmt: str, folder: Path, models: Iterable[Model]
) -> tuple[list[str], dict[str, str]]:
    """Write checkpoints, durably; return the file (or folder) of each, and the BLAKE3 of every file.

    Format `source` is how `source` was laid out, with what `companions` hold beside the weights of a folder
    or torch file, or in an agent's zip, and names end as those that were read; torch's legacy format becomes
    its zip. Raises `UsageError` for a format that is none.
    """
    source = written_as(source, fmt)
    beside = dict(companions) if fmt == "source" else {}
    rest, agent, text = (beside.pop(name, b"") for name in (REST, AGENT, METADATA))
    said = json.loads(text or b"{}")
    names: list[str] = []
    digests: dict[str, str] = {}
    for name, state, metadata in models:
        parts = _files(source, name, state, ".zip" if agent else source.ending or _ENDINGS[source.format])
        names.append(next(iter(parts)).partition("/")[0])
        for file, part in parts.items():
            (folder / file).parent.mkdir(exist_ok=True)
            if source.format == "safetensors":
                renamed = {source.names.get(plain, plain): array for plain, array in part.items()}
                write_arrays(folder / file, renamed, said | metadata)
            else:
                from pdiff.common.tensors import torch_bytes  # noqa: PLC0415 (imports torch)

                content = torch_bytes(_content(source, part, rest))
                _core.write_file(folder / file, with_policy(agent, content) if agent else content)
            digests[file] = _core.digest_file(folder / file)
        for file, companion in beside.items():
            (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
            _core.write_file(folder / name / file, companion)
            digests[f"{name}/{file}"] = _core.digest(companion)
    return names, digests


def written_as(source: Source, fmt: str) -> Source:
    """Return how files of format `fmt` are laid out, where those of the bank are like `source`.

    Raises `UsageError` for a format that is none, and the error of importing torch, if there is none, for one
    that only torch writes.
    """
    if fmt not in FILE_FORMATS:
        raise unknown("checkpoint format", fmt, FILE_FORMATS)
    if fmt != "source":
        source = Source(format="torch" if fmt == "pth" else fmt)
    if source.format != "safetensors":
        import torch  # noqa: F401, PLC0415 (noticed before the work, not after it)
    return source


def _files(source: Source, name: str, state: State, ending: str) -> dict[str, State]:
    """Return the tensors of each file of a model; `ending` is that of the name of a single file."""
    if source.file:
        return {f"{name}/{source.file}": state}
    if source.shape == "sharded":
        files: dict[str, dict[str, Array]] = {file: {} for file in sorted(set(source.files.values()))}
        for plain, array in state.items():
            files[source.files[plain]][plain] = array
        return {f"{name}/{file}": part for file, part in files.items()}
    if source.counted:  # torch's `AveragedModel`: of this model there is one
        state = {AVERAGE_COUNT: Array("I64", np.array(1)), **state}
    return {f"{name}{ending}": state}


def model_bytes(bank: Bank) -> int:
    """Return about how large one model is: a whole checkpoint and what stands beside it."""
    companions = sum(map(len, bank.companions().values()))
    return (bank.path / bank.manifest.base.file).stat().st_size + companions


def _content(source: Source, state: State, rest: bytes) -> dict[str, Any]:
    """Return what `torch.save` is given: tensors in the dictionaries of the source; tied ones share storage.

    What its averages are averages of is the same, and what `rest` says stands beside. Each other tensor is
    given a storage of its own, since the whole storage of a view would be written. Raises `InputError` for a
    `rest` that is damaged.
    """
    from pdiff.common.tensors import to_tensor  # noqa: PLC0415 (imports torch)

    parts = source.parts or (source.keys,)
    content: dict[str, Any] = OrderedDict() if () in parts else {}
    try:
        content = json.loads(rest, object_hook=_plain) if rest else content
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{SOURCE}/{REST}: damaged (not what `collect` writes)") from None
    own = {id(array): to_tensor(array).clone() for array in state.values()}
    places = [(plain, parts[source.places.get(plain, 0)], source.names.get(plain, plain)) for plain in state]
    for plain, keys, name in (*places, *source.copies):
        table = content
        for depth, key in enumerate(keys, 1):
            table = table.setdefault(key, OrderedDict() if keys[:depth] in parts else {})
        table[name] = own[id(state[plain])]
    return content


def _plain(tagged: dict[str, Any]) -> Any:
    """Return the tuple or dictionary that an object in `REST` stands for."""
    ((kind, items),) = tagged.items()
    return {"tuple": tuple, "dict": dict, "ordered": OrderedDict}[kind](items)


def write_rows(bank: Bank, folder: Path, models: Iterable[Drawn]) -> tuple[list[str], dict[str, str]]:
    """Write models of `bank` as the rows of a new bank in `folder`; return their names and its files' BLAKE3.

    It has any number of members, and the layout, source, task and base of `bank`; the base is a hard link to
    the bank's own file where the file system allows it. Rows are float32, rounded to the dtypes of the
    checkpoints, into which every value has to fit.
    """
    (folder / SHARDS).mkdir()
    members: list[Member] = []
    shards: list[ShardEntry] = []
    rounded = _rounded(bank, models, members)
    while rows := list(islice(rounded, max(1, _SHARD_BYTES // (4 * bank.dim)))):
        file = f"{SHARDS}/{len(shards):05d}.safetensors"
        write_arrays(folder / file, {"rows": Array("F32", np.stack(rows))})
        shards.append(ShardEntry(file, len(rows), _core.digest_file(folder / file)))
    manifest = bank.manifest
    _share(bank.path / manifest.base.file, folder / BASE, manifest.base.digest)
    for name, content in bank.companions().items():
        (folder / SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        _core.write_file(folder / SOURCE / name, content)
    new = msgspec.structs.replace(
        manifest,
        dtype="F32",
        shards=tuple(shards),
        base=FileEntry(BASE, manifest.base.digest),
        statistics=write_statistics(folder, STATISTICS, shards, bank.layout),
        members=tuple(members),
    )
    new.write(folder)
    digests = {entry.file: entry.digest for entry in new.files()} | {
        MANIFEST: _core.digest_file(folder / MANIFEST)
    }
    return [member.source for member in members], digests


def _rounded(bank: Bank, models: Iterable[Drawn], members: list[Member]) -> Iterator[npt.NDArray[np.float32]]:
    """Yield each row [D] rounded to the dtypes of the checkpoints, and add what it is to `members`."""
    for _, name, row in models:
        state = restore(bank.layout, row)
        parts = [state[segment.name] for segment in bank.layout.segments]
        members.append(Member(name, _core.digest(b"".join(part.values.tobytes() for part in parts))))
        yield np.concatenate([part.floats() for part in parts])


def _share(source: Path, target: Path, digest: str) -> None:
    """Make `target` the same file as `source`, or a copy; raises `InputError` if that is not the digest's."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise InputError(f"{source}: gone; the bank was changed or replaced since it was opened") from None
    except OSError:  # another file system, or one without links
        with target.open("xb") as file, source.open("rb") as original:
            shutil.copyfileobj(original, file, 2**20)
            file.flush()
            os.fsync(file.fileno())
    if _core.digest_file(target) != digest:
        raise InputError(f"{source}: damaged (its digest differs from the manifest's)")
