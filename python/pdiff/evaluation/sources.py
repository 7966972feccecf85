"""The source files that a task's code reaches, loaded already or first imported when it runs."""

import ast
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Opaque", "Source", "module_of", "reached"]

_FOREIGN = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_NOT_FOLLOWED = ("pdiff", "torch")
_IMPORTERS = ("import_module", "run_module", "run_path")
_RUNNERS = ("__import__", "eval", "exec")


class Opaque(Exception):  # noqa: N818 (not an error: the answer is that nothing can be kept)
    """A task holds something whose content cannot be told; it has no digest."""


@dataclass(frozen=True)
class Source:
    """A module that code reaches."""

    file: Path | None
    """None if it has none, or is not there."""
    module: ModuleType | None
    """None if it has not been imported."""
    own: bool
    """Whether the user wrote it: neither an installed package nor pdiff."""


def module_of(value: Any) -> ModuleType | None:
    """Return the module that a value is, or in which it was defined."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return sys.modules.get(name) if isinstance(name, str) else None


def reached(modules: Iterable[ModuleType | None]) -> dict[str, Source]:
    """Return, by name, these modules and those that the user's own ones among them hold or import anywhere.

    Nothing is imported. Raises `Opaque` for own code that is in no file, or that runs what only running it
    tells.
    """
    found: dict[str, Source] = {}
    waiting = [module.__name__ for module in modules if module is not None]
    while waiting:
        name = waiting.pop()
        if name in found or name.startswith("torch.") or name in sys.builtin_module_names:
            continue
        found[name] = source = _source(name)
        if source.own:
            waiting += [held.__name__ for held in map(module_of, _values(source.module)) if held is not None]
            waiting += _imports(name, source)
    return found


def _values(module: ModuleType | None) -> list[Any]:
    """Return what a module holds."""
    return [] if module is None else list(vars(module).values())


def _source(name: str) -> Source:
    """Return where a module comes from."""
    module = sys.modules.get(name)
    spec = _spec(name) if module is None else module.__spec__
    file = getattr(module, "__file__", None) or (spec.origin if spec and spec.has_location else None)
    if file is not None:
        ours = name.partition(".")[0] in _NOT_FOLLOWED
        return Source(Path(file), module, own=not ours and not file.startswith(_FOREIGN))
    if module is not None and spec is None:
        raise Opaque(f"code of {name}, which is in no file")
    return Source(None, module, own=False)


def _spec(name: str) -> ModuleSpec | None:
    """Return where a module that has not been imported would come from; None if it is not there.

    Unlike `importlib.util.find_spec`, this does not import the packages that it is in.
    """
    parent, _, _ = name.rpartition(".")
    within = None
    if parent:
        spec = getattr(sys.modules.get(parent), "__spec__", None) or _spec(parent)
        if spec is None or spec.submodule_search_locations is None:
            return None
        within = list(spec.submodule_search_locations)
    for finder in sys.meta_path:
        if (spec := finder.find_spec(name, within)) is not None:
            return spec
    return None


def _imports(name: str, source: Source) -> Iterator[str]:
    """Return the names that the code of a module imports, at its head or in its functions."""
    assert source.file is not None
    if source.file.suffix != ".py":
        return
    package = name if source.file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(_parsed(source.file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            yield from _with_packages(base)
            for alias in node.names:  # a name in the module, or a module of its own
                if f"{base}.{alias.name}" in sys.modules or _spec(f"{base}.{alias.name}"):
                    yield f"{base}.{alias.name}"
        elif isinstance(node, ast.Call):
            yield from _called(node, name, package)


def _called(node: ast.Call, name: str, package: str) -> Iterator[str]:
    """Return the name that a call imports, if it is one that imports."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in _IMPORTERS or (called in _RUNNERS and isinstance(node.func, ast.Name)):
        match called, node.args:
            case "import_module", [ast.Constant(value=str(wanted)), *_]:
                yield from _with_packages(_absolute(wanted, package))
            case _:
                raise Opaque(f"code ({name}) that calls {called}()")


def _parsed(file: Path) -> ast.AST:
    """Return the syntax tree of a file, an empty one if it is not Python."""
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _absolute(name: str, package: str) -> str:
    """Return the absolute name of a module that is named as from within a package."""
    try:
        return resolve_name(name, package)
    except ImportError:
        return name


def _with_packages(name: str) -> Iterator[str]:
    """Return a module's name and those of the packages that it is in."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])
