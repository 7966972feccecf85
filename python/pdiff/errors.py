"""The exceptions that `pdiff` raises on purpose, each with the exit code the command line gives it.

Every message is one line: what is wrong, where, and what would be accepted. `PdiffError` and
`InputError` are defined by the Rust core, so that errors from either half are the same classes.
"""

from pdiff._core import InputError, PdiffError

__all__ = ["InputError", "PdiffError", "UsageError", "exit_code"]


class UsageError(PdiffError):
    """A command, option or configuration that cannot work as given (exit code 2)."""


def exit_code(error: BaseException) -> int:
    """Return the process exit code for `error`: 1 failure, 2 usage, 3 input refused, 130 interrupted."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, InputError):
        return 3
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 1
