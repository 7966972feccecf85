"""Report the progress of long work, without knowing what shows it.

Library functions take a `Progress`. Those that users call take `AnyProgress`, by default
what `as_progress` decides: it is drawn on a terminal and in a notebook (`bars.py`), and `SILENT` elsewhere.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Protocol

from pdiff.common.wording import counted, seconds_text

_LONG = 60.0
"""Seconds from which work is said to be long before it is done."""
_SEEN = 3.0
"""Seconds of work by which the rest is estimated."""


class Tracker(Protocol):
    """One running step of known length."""

    def advance(self, amount: int = 1, **info: float) -> None:
        """Report `amount` more units done; `info` are figures worth showing beside the bar (a loss)."""


class Progress(Protocol):
    """Whatever shows progress."""

    def track(
        self, title: str, total: int, unit: str = "it", *, done: int = 0, cheaper: str = ""
    ) -> AbstractContextManager[Tracker]:
        """Open a step of `total` units, closed when the context ends.

        `done` of them were done before, by an interrupted command. `cheaper` says what would take less
        time, and is shown if the step is found to be long.
        """

    def message(self, text: str) -> None:
        """Say one line that matters (a choice that was made, a file that was skipped)."""


class Forecast:
    """Says once how long a step will take, as soon as some of its units have been timed.

    The first unit is not counted, as it often prepares the others, unless it is a long one.
    """

    def __init__(self, title: str, unit: str, cheaper: str = "") -> None:
        self._title, self._unit, self._cheaper = title, unit, cheaper
        self._begin = self._first = monotonic()
        self._units = 0
        self._counted = 0
        self._said = False

    def line(self, amount: int, left: int) -> str:
        """Return the line to say after `amount` more units, with so many `left`; mostly an empty one."""
        if self._said:
            return ""
        now, self._units = monotonic(), self._units + amount
        if self._units == amount:
            self._first, self._counted = now, amount
        timed, seconds = self._units - self._counted, now - self._first
        if not timed and now - self._begin > _LONG / 2:  # the first ones alone are too much
            timed, seconds = self._units, now - self._begin
        if not timed or seconds < _SEEN:
            return ""
        self._said = True
        each = seconds / timed
        if each * left < _LONG:
            return ""
        units = f"the {counted(left, self._unit)} left"
        more = f"; {self._cheaper}" if self._cheaper else ""
        return f"{self._title}: about {seconds_text(each * left)} for {units}{more}"


class _Silent:
    def advance(self, amount: int = 1, **info: float) -> None:
        """Do nothing."""

    def track(
        self, title: str, total: int, unit: str = "it", *, done: int = 0, cheaper: str = ""
    ) -> AbstractContextManager[Tracker]:
        """Return a tracker that shows nothing."""
        return nullcontext(self)

    def message(self, text: str) -> None:
        """Drop the message."""


SILENT: Progress = _Silent()

AnyProgress = Progress | bool | None
"""Something that shows progress, whether progress is shown on stderr, or None: where somebody looks."""


def as_progress(progress: AnyProgress) -> Progress:
    """Return what shows progress; without a wish it is stderr if that is a terminal or a notebook."""
    if progress is None:
        progress = sys.stderr.isatty() or "ipykernel" in sys.modules
    if not isinstance(progress, bool):
        return progress
    if not progress:
        return SILENT
    from pdiff.common.bars import Shown  # noqa: PLC0415 (it names this module)

    return Shown()


class Wordless:
    """Shows the steps of another progress, and drops its messages: for what is done again with them."""

    def __init__(self, progress: Progress) -> None:
        self.track = progress.track

    def message(self, text: str) -> None:
        """Drop the message."""
