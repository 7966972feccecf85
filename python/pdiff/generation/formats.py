"""Writing one generated checkpoint: as safetensors, as a torch file, or the way the source was."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.bank.source import AVERAGE_COUNT
from pdiff.common.artifacts import write_tensors
from pdiff.common.errors import unknown

__all__ = ["FORMATS", "Format", "Writer", "writer"]

Format = Literal["safetensors", "pth", "source"]
FORMATS: tuple[Format, ...] = get_args(Format)

State = Mapping[str, Tensor]
Metadata = Mapping[str, str]
Writer = Callable[[Path, str, State, Metadata], list[str]]
"""(folder, name of the model, state dict under plain names, metadata) → the files written, model first.

A model that is a folder is named by the folder. Files are durable, and the same for the same tensors.
"""


def writer(bank: Bank, fmt: str) -> Writer:
    """Return what writes checkpoints of `bank` in the format `fmt`; `UsageError` for one that is none."""
    if fmt not in FORMATS:
        raise unknown("checkpoint format", fmt, FORMATS)
    source = bank.manifest.source
    if fmt == "safetensors":
        return _safetensors
    if fmt == "pth":
        return _pth
    if source.shape == "file":
        return _file(bank)
    return _sharded(bank) if source.shape == "sharded" else _adapter(bank)


def _safetensors(folder: Path, name: str, state: State, metadata: Metadata) -> list[str]:
    file = f"{name}.safetensors"
    write_tensors(folder / file, state, metadata)
    return [file]


def _pth(folder: Path, name: str, state: State, metadata: Metadata) -> list[str]:
    file = f"{name}.pth"
    _write_torch(folder / file, state)
    return [file]


def _file(bank: Bank) -> Writer:
    """Return what writes one file of the source's format and names; torch's legacy format becomes its zip."""
    source = bank.manifest.source

    def write(folder: Path, name: str, state: State, metadata: Metadata) -> list[str]:
        renamed = _renamed(state, source.names)
        if source.counted:  # of this model there is one
            renamed = {AVERAGE_COUNT: torch.tensor(1), **renamed}
        if source.format == "safetensors":
            return _safetensors(folder, name, renamed, metadata)
        _write_torch(folder / f"{name}.pth", renamed, source.keys)
        return [f"{name}.pth"]

    return write


def _sharded(bank: Bank) -> Writer:
    """Return what writes a folder with the source's shards, index and configuration."""
    source, companions = bank.manifest.source, bank.companions()
    files = sorted(set(source.files.values()))

    def write(folder: Path, name: str, state: State, metadata: Metadata) -> list[str]:
        (folder / name).mkdir()
        for file in files:
            part = {plain: tensor for plain, tensor in state.items() if source.files[plain] == file}
            _write_as(bank, folder / name / file, _renamed(part, source.names), metadata)
        return [f"{name}/{each}" for each in (*files, *_copy(companions, folder / name))]

    return write


def _adapter(bank: Bank) -> Writer:
    """Return what writes a folder with the adapter's weights and configuration."""
    companions = bank.companions()
    file = "adapter_model" + (".safetensors" if bank.manifest.source.format == "safetensors" else ".bin")

    def write(folder: Path, name: str, state: State, metadata: Metadata) -> list[str]:
        (folder / name).mkdir()
        _write_as(bank, folder / name / file, _renamed(state, bank.manifest.source.names), metadata)
        return [f"{name}/{each}" for each in (file, *_copy(companions, folder / name))]

    return write


def _write_as(bank: Bank, path: Path, state: State, metadata: Metadata) -> None:
    """Write one file in the format of the bank's source."""
    if bank.manifest.source.format == "safetensors":
        write_tensors(path, state, metadata)
    else:
        _write_torch(path, state, bank.manifest.source.keys)


def _renamed(state: State, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors under the source's names."""
    return {names.get(plain, plain): tensor for plain, tensor in state.items()}


def _copy(companions: Mapping[str, bytes], folder: Path) -> list[str]:
    """Write the files that stood beside the source's weights, and return their names."""
    for name, content in companions.items():
        _core.write_file(folder / name, content)
    return list(companions)


def _write_torch(path: Path, state: State, keys: Sequence[str] = ()) -> None:
    """Write a state dict the way `torch.save` does, under the `keys`; tied tensors share storage.

    Each other tensor is given a storage of its own, since the whole storage of a view would be written.
    """
    own: dict[int, Tensor] = {}
    weights = OrderedDict(
        (name, own.setdefault(id(tensor), tensor.detach().cpu().clone())) for name, tensor in state.items()
    )
    content: Any = weights
    for key in reversed(keys):
        content = {key: content}
    buffer = BytesIO()
    torch.save(content, buffer)
    _core.write_file(path, buffer.getbuffer())
