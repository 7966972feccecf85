"""Load a task by its name: a built-in one, or `file.py:NAME` for your own."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pdiff.bank import Bank
from pdiff.common.blame import blamed, described, user_place
from pdiff.common.errors import UsageError, nearest, unknown
from pdiff.tasks.base import Task

BUILT_IN = {
    "mnist1d": "pdiff.tasks.mnist1d:Mnist1D",
    "digits": "pdiff.tasks.digits:Digits",
    "fashion": "pdiff.tasks.vision:Fashion",
    "fortunes": "pdiff.tasks.text:Fortunes",
    "segmentation": "pdiff.tasks.segmentation:Segmentation",
    "detection": "pdiff.tasks.detection:Detection",
    "denoising": "pdiff.tasks.denoising:Denoising",
}
"""Name of each built-in task → where its class is; imported when asked for."""

PICTURES = ("cifar10", "cifar100", "stl10", "flowers102", "pets", "food101", "imagenet", "mnist", "svhn")
"""Built-in tasks whose data has to be on the user's disk."""


def load_task(name: str, **options: Any) -> Task:
    """Return a task by built-in name, or by `path/to/file.py:NAME`, built with `options`.

    Raises `UsageError` if the name or an option is not known, or if the factory does not return a `Task`.
    """
    if name in BUILT_IN:
        module_name, _, class_name = BUILT_IN[name].partition(":")
        factory = getattr(importlib.import_module(module_name), class_name)
    elif name in PICTURES:
        from pdiff.tasks.pictures import Pictures  # noqa: PLC0415 (not for tasks that have no pictures)

        factory = partial(Pictures, name)
    elif ".py" in name:
        factory = _factory_from_file(name)
    else:
        error = unknown("task", name, (*BUILT_IN, *PICTURES))
        raise UsageError(f"{error}, or your own as file.py:NAME")
    _check_options(name, factory, options)
    with blamed(name):
        task = factory(**options)
    if not isinstance(task, Task):
        raise UsageError(
            f"{name}: returned a {type(task).__name__}, not a Task (a subclass of pdiff.tasks.Task)"
        )
    return task


def task_of(bank: Bank) -> Task:
    """Return the task that a bank names; raises `UsageError` if it names none."""
    task = bank.required_task()
    return load_task(task.name, **task.options)


def arch_of(bank: Bank, task: Task, asked: str | None) -> str:
    """Return the architecture asked for, else the bank's if the task has it, else the task's default."""
    if asked is not None and asked not in task.architectures:
        raise unknown(f"architecture of {task.name}", asked, task.architectures)
    own = bank.task.arch if bank.task is not None and bank.task.arch in task.architectures else None
    return asked or own or task.architectures[0]


def as_task(task: Task | type[Task] | str) -> Task:
    """Return a task that is given itself, by its name, or as a class that needs no arguments."""
    if isinstance(task, str):
        return load_task(task)
    return task() if isinstance(task, type) else task


def _check_options(name: str, factory: Callable[..., object], options: dict[str, Any]) -> None:
    """Refuse options that the factory does not take, and the lack of those that it needs."""
    parameters = inspect.signature(factory).parameters.values()
    keywords = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for option in options:
        if option not in keywords and not takes_any:
            raise unknown(f"option of task {name}", option, keywords)
    for parameter in keywords.values():
        if parameter.default is parameter.empty and parameter.name not in options:
            raise UsageError(f"task {name} needs the option {parameter.name!r}")


def _factory_from_file(name: str) -> Callable[..., object]:
    """Import the user's file and return the function that `file.py:NAME` names."""
    file, _, attribute = name.rpartition(":")
    if not file or not attribute:
        raise UsageError(f"{name}: name the task in it, as in {name.rstrip(':')}:Mine")
    module = _import_file(Path(file))
    factory = getattr(module, attribute, None)
    if not callable(factory):
        own = [
            name for name, each in vars(module).items() if getattr(each, "__module__", "") == module.__name__
        ]
        why = f"{file}: has no task {attribute!r}, a class or a function"
        raise UsageError(f"{why}; {nearest(attribute, own)}it has {', '.join(own) or 'none'}")
    return factory  # type: ignore[no-any-return]  # callable() narrows Any to Any


def _import_file(path: Path) -> ModuleType:
    """Import a Python file under a name of its own; modules beside it are found after all others."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file; a task is given as file.py:NAME or by name")
    spec = importlib.util.spec_from_file_location(f"pdiff_task_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    sys.modules[spec.name] = module  # as `import` does: dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        where = user_place(error) or str(path)
        raise UsageError(f"{path}: cannot be imported: {described(error)} ({where})") from error
    return module
