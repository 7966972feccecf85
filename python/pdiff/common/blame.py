"""Name the line of a user's own files that an error comes from: those of tasks, and of what they import."""

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pdiff.common.errors import PdiffError, UsageError

_OURS = Path(__file__).parents[1]
_OTHERS = {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}
_NOT_INSTALLED = ("site-packages", "dist-packages")


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Raise what goes wrong in the block, which calls a user's code, as a `UsageError` of `what`."""
    try:
        yield
    except PdiffError:
        raise
    except Exception as error:
        raise fault(what, error) from error


def fault(what: str, error: Exception, hint: str = "") -> UsageError:
    """Return an error in a user's code as one line: what failed, why and, if it is known, the place."""
    place = user_place(error)
    return UsageError(f"{what}: {described(error)}{f' ({place})' if place else ''}{hint}")


def described(error: BaseException) -> str:
    """Return the kind of an error and its message in one line, without the traceback that workers add."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"  # without the place, which `user_place` says
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and any(line.startswith("Traceback") for line in lines):
        return lines[-1]
    return ": ".join([type(error).__name__, *([" ".join(lines)] if lines else [])])


def user_place(error: BaseException) -> str:
    """Return `file.py:12` of the innermost line of a user's that `pdiff` called; an empty string for none."""
    if isinstance(error, SyntaxError) and error.filename and _is_users(error.filename):
        return f"{error.filename}:{error.lineno}"
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    ours = next((n for n, (file, _) in enumerate(frames) if Path(file).is_relative_to(_OURS)), len(frames))
    places = [f"{file}:{line}" for file, line in frames[ours:] if _is_users(file)]
    return places[-1] if places else ""


def _is_users(file: str) -> bool:
    path = Path(file)
    if path.is_relative_to(_OURS) or not path.is_file() or any(part in path.parts for part in _NOT_INSTALLED):
        return False
    return not any(path.is_relative_to(other) for other in _OTHERS)
