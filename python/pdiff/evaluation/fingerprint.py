"""Digests of what decides a prediction: the code of a task, its state, the network around the subset."""

import dataclasses
import json
from argparse import Namespace
from collections.abc import Iterable
from functools import cached_property, partial
from logging import Logger
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pdiff import _core
from pdiff.evaluation.sources import Opaque, Source, is_own, module_of, reached

__all__ = ["digest_of", "engine_sources", "network_digest", "task_digest", "tensor_digest"]

_ENGINE = (
    *("assignment", "decisions", "fast", "forward", "layout", "operations", "predict", "prediction"),
    *("reestimate", "trunk"),
)
_HOLDERS = (
    *(list, tuple, dict, set, frozenset, Tensor, np.ndarray, np.generic),
    *(SimpleNamespace, Namespace, partial, MappingProxyType),
)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), Path, torch.dtype, torch.device, torch.Size)


def digest_of(value: Any) -> str:
    """Return the BLAKE3 of a JSON value."""
    return _core.digest(json.dumps(value, sort_keys=True).encode())


def tensor_digest(tensor: Tensor) -> str:
    """Return the digest of a tensor's dtype, shape and bytes."""
    tensor = tensor.detach().cpu().contiguous()
    content = _core.digest(tensor.flatten().view(torch.uint8).numpy())
    return digest_of([str(tensor.dtype), list(tensor.shape), content])


def task_digest(task: object) -> str:
    """Return the digest of a task: its class's code, all code of the user's it reaches, and its attributes.

    Code in installed packages counts by its files where the task uses it directly. Raises `Opaque` for an
    attribute whose content cannot be told, such as an open file, and for code that cannot.
    """
    sources = _sources([module_of(kind) for kind in type(task).__mro__])
    return digest_of([sources, _state(task, ())])


def network_digest(network: nn.Module, loaded: Iterable[str]) -> str:
    """Return the digest of what a network is besides the tensors `loaded` into it: modules, code, buffers."""
    sources = _sources([module_of(type(module)) for module in network.modules()])
    given = set(loaded)
    tensors = {name: tensor_digest(b) for name, b in network.named_buffers() if name not in given}
    return digest_of([repr(network), sources, tensors])


def engine_sources() -> list[list[str]]:
    """Return the digests of the code that predicts, and of all built-in tasks."""
    folder = Path(__file__).parent
    engine = [folder / f"{name}.py" for name in _ENGINE]
    paths = [*engine, *sorted((folder.parent / "tasks").glob("*.py"))]
    return [[path.name, _core.digest_file(path)] for path in paths]


def _sources(modules: Iterable[ModuleType | None]) -> list[list[str]]:
    """Return names and digests of these modules' files, and of those that the user's own ones reach.

    Of the user's own ones the digest is of their global values too, which need not be those of the file.
    """
    return sorted([name, _source_digest(source)] for name, source in reached(modules).items())


def _source_digest(source: Source) -> str:
    """Return the digest of a module's file and values; empty for one that is not there."""
    there = source.file is not None and source.file.is_file()
    content = _core.digest_file(source.file) if there else ""  # type: ignore[arg-type]
    if not source.own or source.module is None:
        return content
    values = {key: value for key, value in vars(source.module).items() if _is_value(key, value)}
    return digest_of([content, _state(values, ())])


def _is_value(name: str, value: Any) -> bool:
    """Return whether a global of a module is something that its functions may depend on.

    Other functions and classes are in the files; what they have captured or were given later is not. Objects
    of installed packages (loggers, caches) count only where they do nothing but hold values.
    """
    if name.startswith("__"):
        return False
    if isinstance(value, FunctionType):
        return bool(value.__closure__ or value.__defaults__ or value.__kwdefaults__)
    if isinstance(value, type):
        return False
    if isinstance(value, (*_PLAIN, *_HOLDERS)) or dataclasses.is_dataclass(value):
        return True
    module = module_of(type(value))
    return module is not None and is_own(module)


def _state(value: Any, inside: tuple[int, ...]) -> Any:  # noqa: PLR0911, PLR0912 (a kind a line)
    """Return a JSON value that says what `value` holds; `inside` are the ids of what holds it."""
    if isinstance(value, _PLAIN):
        return [type(value).__name__, str(value)]
    if id(value) in inside:
        return ["again", inside.index(id(value))]
    inside = (*inside, id(value))
    if isinstance(value, Tensor):
        return tensor_digest(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        return [str(value.dtype), list(value.shape), _core.digest(flat)]
    if isinstance(value, Logger):
        return ["logger", value.name]
    if isinstance(value, np.generic):
        return [str(value.dtype), value.tobytes().hex()]
    if isinstance(value, partial):
        return ["partial", *(_state(part, inside) for part in (value.func, value.args, value.keywords))]
    if isinstance(value, dict | MappingProxyType):
        return [[_state(key, inside), _state(item, inside)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(_state(item, inside) for item in value)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(json.dumps(_state(item, inside)) for item in value)]
    if isinstance(value, type | ModuleType | BuiltinFunctionType):
        return ["named", getattr(value, "__module__", ""), value.__name__]
    if isinstance(value, FunctionType | MethodType):
        return _function(value, inside)
    if isinstance(value, CodeType):
        return [value.co_code.hex(), list(value.co_names), _state(value.co_consts, inside)]
    return _object(value, inside)


def _function(value: FunctionType | MethodType, inside: tuple[int, ...]) -> Any:
    """Return what a function does and has captured."""
    if isinstance(value, MethodType):
        return [_state(value.__self__, inside), _state(value.__func__, inside)]
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    captured = [value.__defaults__, value.__kwdefaults__, cells]
    return [_state(value.__code__, inside), _state(captured, inside)]


def _object(value: Any, inside: tuple[int, ...]) -> Any:
    """Return what an object holds; properties that are cached follow from the rest."""
    kind = type(value)
    name = [kind.__module__, kind.__qualname__]
    if dataclasses.is_dataclass(value):
        return [name, [_state(getattr(value, each.name), inside) for each in dataclasses.fields(value)]]
    if not hasattr(value, "__dict__") or kind.__module__ == "builtins" or kind.__module__.startswith("_"):
        raise Opaque(f"{kind.__module__}.{kind.__qualname__}")
    held = {
        key: item
        for key, item in vars(value).items()
        if not isinstance(getattr(kind, key, None), cached_property)
    }
    return [name, _state(held, inside)]
