"""Describe how checkpoints are laid out in files, so that generated ones can be laid out the same."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from pdiff import _core
from pdiff.checkpoints.folders import read_companion, read_index
from pdiff.checkpoints.listing import INDEX
from pdiff.checkpoints.records import Candidate, Example
from pdiff.common.directories import require_inside
from pdiff.common.errors import InputError

AVERAGE_COUNT = "n_averaged"
_COMPANIONS = ("config.json", "generation_config.json", "adapter_config.json")
_COMPANION_BYTES = 2**20
_INDEX_BYTES = 10 * 2**20


class Source(msgspec.Struct, frozen=True):
    """What a checkpoint of the bank is on disk."""

    shape: Literal["file", "sharded", "adapter"] = "file"
    format: str = "safetensors"
    """`safetensors`, `torch` or `torch-legacy`."""
    keys: tuple[str, ...] = ()
    """What leads to the weights in a torch file."""
    averaged: bool = False
    """Whether they are averaged (EMA) weights, by these keys."""
    counted: bool = False
    """Whether torch's `AveragedModel` wrote the file, whose `n_averaged` is beside the network's tensors."""
    names: dict[str, str] = {}
    """Plain name → name in the source, where they differ."""
    files: dict[str, str] = {}
    """Of a sharded checkpoint: plain name → file that holds the tensor."""
    adapter: dict[str, Any] = {}
    """Settings that all adapters of the bank share."""
    companions: dict[str, str] = {}
    """Files beside the weights, copied to the bank's folder `source`: name → BLAKE3."""


def describe_source(example: Example) -> Source:
    """Return how `example` is laid out, without companions; `InputError` for a file outside its folder."""
    candidate, header = example.candidate, example.header
    tensors = header.tensors
    files: dict[str, str] = {}
    if candidate.shape == "sharded":
        files = {t.name: candidate.index[t.source_name] for t in tensors}
    require_inside(candidate.source, files.values())
    return Source(
        shape=candidate.shape,
        format=header.format,
        keys=tuple(header.keys),
        averaged=header.averaged,
        counted=AVERAGE_COUNT in header.left_out,
        names={t.name: t.source_name for t in tensors if t.name != t.source_name},
        files=files,
        adapter=candidate.adapter,
    )


def write_companions(candidate: Candidate, folder: Path) -> dict[str, str]:
    """Copy what stands beside the weights of a sharded checkpoint or adapter: configuration and index.

    Returns name → digest; `folder` is made if there is any. They are read as JSON and written anew; what is
    none, or larger than 1 MiB (an index: 10 MiB), or a link out of its folder, is left out.
    """
    digests: dict[str, str] = {}
    for name, content in read_companions(candidate).items():
        folder.mkdir(exist_ok=True)
        _core.write_file(folder / name, content)
        digests[name] = _core.digest(content)
    return digests


def read_companions(candidate: Candidate) -> dict[str, bytes]:
    """Return the files that `write_companions` copies: name → content."""
    return {} if candidate.folder is None else dict(_companions(candidate, candidate.folder))


def _companions(candidate: Candidate, folder: Path) -> Iterable[tuple[str, bytes]]:
    for name in _COMPANIONS:
        if (content := read_companion(folder / name, _COMPANION_BYTES)) is not None:
            yield name, content
    if candidate.shape != "sharded":
        return
    for path in sorted(folder.glob(f"*{INDEX}")):
        if path.name.isprintable() and _weight_map(path) == candidate.index:
            if (content := read_companion(path, _INDEX_BYTES)) is not None:
                yield path.name, content
            return


def _weight_map(path: Path) -> dict[str, str] | None:
    try:
        return read_index(str(path))
    except InputError:
        return None
