"""Define the exceptions that `pdiff` raises on purpose, each with the exit code the command line gives it.

Every message is one line: what is wrong, where, and what would be accepted. `PdiffError` and
`InputError` are defined by the Rust core, so that errors from either half are the same classes.

Messages name options as they are typed. What these are called in Python is a note, which a traceback shows
below the message and the command line leaves out.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar

from pdiff._core import CodeError, InputError, PdiffError

__all__ = [
    "CodeError",
    "InputError",
    "PdiffError",
    "PreemptedError",
    "UsageError",
    "exit_code",
    "missing",
    "nearest",
    "noted",
    "unknown",
]

_EXTRAS = {
    **dict.fromkeys(("torch", "jinja2", "matplotlib", "scipy"), "torch"),
    **dict.fromkeys(("timm", "torchvision", "PIL"), "vision"),
    **dict.fromkeys(("transformers", "tokenizers"), "text"),
}
"""What is not installed with `pdiff-nn` alone, each with the extra that brings it."""


_ARGUMENTS = {
    **dict.fromkeys(("overwrite", "resume", "extend", "majority", "skip_nonfinite"), "True"),
    **dict.fromkeys(("out", "base", "bank", "task", "arch", "conditions", "key", "n", "last", "every"), "…"),
    **dict.fromkeys(("data_access", "gradient_evaluations", "reestimate", "batch_size", "device"), "…"),
    "ema": "True or False",
    "config": "pdiff.Config.preset(…)",
}
"""Arguments of functions that are options too, and what they are given."""
_CALLED = dict.fromkeys(("generator", "preset", "set"), "config")
"""Options whose argument has another name."""
_OPTION = re.compile(r"(?<=--)[a-z]+(?:-[a-z]+)*")

Raised = TypeVar("Raised", bound=BaseException)


def noted(error: Raised) -> Raised:
    """Return an error with a note on the arguments that stand for the options in its message, if any do."""
    options = (name.replace("-", "_") for name in _OPTION.findall(str(error)))
    names = dict.fromkeys(_CALLED.get(name, name) for name in options)
    if arguments := [f"{name}={_ARGUMENTS[name]}" for name in names if name in _ARGUMENTS]:
        error.add_note(f"In Python: {', '.join(arguments)}")
    return error


class UsageError(PdiffError):
    """A command, option or configuration that cannot work as given (exit code 2)."""

    def __init__(self, *values: object) -> None:
        super().__init__(*values)
        noted(self)


class PreemptedError(PdiffError):
    """A signal asked for a stop; the state is saved (exit code 75)."""


_CODES: dict[type[BaseException], int] = {UsageError: 2, InputError: 3, PreemptedError: 75}


def exit_code(error: BaseException) -> int:
    """Return the process exit code for `error`; 1 if it is none of the known kinds."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), 1)


def missing(error: ImportError, what: str) -> UsageError | None:
    """Return the error that says how to get the package that `what` lacks; None if it is none of an extra."""
    package = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(package)
    if extra is None or not isinstance(error, ModuleNotFoundError):
        return None
    return UsageError(f"{what} needs {package}, which is not installed: pip install 'pdiff-nn[{extra}]'")


def unknown(what: str, given: str, accepted: Iterable[str]) -> UsageError:
    """Return the error for a name that is not accepted, with the nearest accepted one if there is any."""
    names = list(accepted)
    wanted = f"accepted: {', '.join(names) if names else 'none'}"
    return UsageError(f"unknown {what} {given!r}; {nearest(given, names)}{wanted}")


def nearest(given: str, names: Iterable[str]) -> str:
    """Return the question whether the nearest of some names was meant, and a space; empty if none is near."""
    near = get_close_matches(given, names)
    likely = max(near, key=lambda name: sorted(name) == sorted(given), default=None)  # letters that swapped
    return f"did you mean {likely!r}? " if likely else ""
