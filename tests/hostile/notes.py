"""What is said while something runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pdiff.common.progress import SILENT, Tracker

__all__ = ["Notes"]


class Notes:
    """A `Progress` that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def track(self, title: str, total: int, unit: str = "it", **more: Any) -> Iterator[Tracker]:
        with SILENT.track(title, total, unit, **more) as tracker:
            yield tracker

    def message(self, text: str) -> None:
        self.lines.append(text)

    def said(self, *parts: str) -> bool:
        """Return whether one line holds all the parts."""
        return any(all(part in line for part in parts) for line in self.lines)
