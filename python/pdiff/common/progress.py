"""Report the progress of long work, without knowing what shows it.

Library functions take a `Progress`; the command line passes one that draws on the terminal, everybody
else gets `SILENT`.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Tracker(Protocol):
    """One running step of known length."""

    def advance(self, amount: int = 1, **info: float) -> None:
        """Report `amount` more units done; `info` are figures worth showing beside the bar (a loss)."""


class Progress(Protocol):
    """Whatever shows progress."""

    def track(self, title: str, total: int, unit: str = "it") -> AbstractContextManager[Tracker]:
        """Open a step of `total` units, closed when the context ends."""

    def message(self, text: str) -> None:
        """Say one line that matters (a choice that was made, a file that was skipped)."""


class _Silent:
    def advance(self, amount: int = 1, **info: float) -> None:
        """Do nothing."""

    def track(self, title: str, total: int, unit: str = "it") -> AbstractContextManager[Tracker]:
        """Return a tracker that shows nothing."""
        return nullcontext(self)

    def message(self, text: str) -> None:
        """Drop the message."""


SILENT: Progress = _Silent()
