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

__all__ = ["Opaque", "Source", "is_own", "module_of", "reached"]

_FOREIGN = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_NOT_FOLLOWED = ("pdiff", "torch")
_RUNNERS = {"__import__", "eval", "exec"}
_LOADERS = {
    *("import_module", "run_module", "run_path", "exec_module", "load_module", "module_from_spec"),
    *("spec_from_file_location", "spec_from_loader", "SourceFileLoader", "SourcelessFileLoader"),
}
"""What runs code that its text does not name, whatever it is called by."""


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


def is_own(module: ModuleType) -> bool:
    """Return whether the user wrote a module."""
    file = getattr(module, "__file__", None)
    return file is not None and _is_own(module.__name__, file)


def _is_own(name: str, file: str) -> bool:
    return name.partition(".")[0] not in _NOT_FOLLOWED and not file.startswith(_FOREIGN)


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
            held = map(module_of, list(vars(source.module).values()) if source.module else ())
            waiting += [module.__name__ for module in held if module is not None]
            waiting += _imports(name, source)
    return found


def _source(name: str) -> Source:
    """Return where a module comes from."""
    module = sys.modules.get(name)
    spec = _spec(name) if module is None else module.__spec__
    file = getattr(module, "__file__", None) or (spec.origin if spec and spec.has_location else None)
    if file is not None:
        return Source(Path(file), module, own=_is_own(name, file))
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
    tree = _parsed(source.file)
    named = dict(_named_calls(tree))
    for wanted in named.values():
        yield from _with_packages(_absolute(wanted, package))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            yield from _with_packages(base)
            for alias in node.names:  # a name in the module, or a module of its own
                if f"{base}.{alias.name}" in sys.modules or _spec(f"{base}.{alias.name}"):
                    yield f"{base}.{alias.name}"
        if node not in named and (unknown := _runs_unknown(node)):
            raise Opaque(f"code ({name}) that uses {unknown}")


def _named_calls(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Return the functions of calls such as `import_module("name")`, and these names."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=(ast.Name(id="import_module") | ast.Attribute(attr="import_module")) as function,
                args=[ast.Constant(value=str(wanted)), *_],
            ):
                yield function, wanted


def _runs_unknown(node: ast.AST) -> str | None:
    """Return the name of what a node takes to run other code, however it comes by it; else None."""
    match node:
        case ast.Name(id=name) if name in _LOADERS | _RUNNERS:
            return name
        case ast.Attribute(attr=name) if name in _LOADERS:
            return name
        case ast.Attribute(value=ast.Name(id="builtins"), attr=name) if name in _RUNNERS:
            return name
        case ast.alias(name=name, asname=str()) if name in _LOADERS | _RUNNERS:
            return name
        case ast.Constant(value=str(name)) if name in _LOADERS:
            return name
    return None


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
