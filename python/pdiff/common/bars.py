"""Show progress on stderr: bars on a terminal, a few plain lines off it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from pdiff.common.progress import Forecast
from pdiff.common.wording import counted, rate_text, seconds_text

_SECONDS = 30.0
"""A plain line comes at each quarter of a step, and this long after the last one."""
_APART = 1.0
"""Seconds between two plain lines at least."""


class Shown:
    """Implements `pdiff.common.progress.Progress` on stderr."""

    def __init__(self) -> None:
        self._err = RichConsole(stderr=True, soft_wrap=True)
        self.draws = self._err.is_terminal and not self._err.is_jupyter
        """Whether bars are drawn."""

    def message(self, text: str) -> None:
        """Say one line on stderr."""
        self._err.print(text, markup=False, highlight=False)

    @contextmanager
    def track(
        self, title: str, total: int, unit: str = "it", *, done: int = 0, cheaper: str = ""
    ) -> Iterator["_Bar | _Lines"]:
        """Show one step of `total` units until the block ends."""
        forecast = Forecast(title, unit, cheaper)
        if not self.draws:
            yield (lines := _Lines(title, total, unit, done=done, say=self.message, forecast=forecast))
            lines.close()
            return
        with RichProgress(
            *(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
            *(TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn()),
            TextColumn("[dim]{task.fields[info]}"),
            console=self._err,
        ) as progress:
            task = progress.add_task(title, total=total, completed=done, rate="", info="")
            yield _Bar(progress, task, unit, self.message, forecast)


class _Bar:
    """A bar on a terminal."""

    def __init__(
        self, progress: RichProgress, task: Any, unit: str, say: Callable[[str], None], forecast: Forecast
    ) -> None:
        self._progress, self._id, self._unit, self._say = progress, task, unit, say
        self._forecast = forecast

    def advance(self, amount: int = 1, **info: float) -> None:
        """Move the bar."""
        task: Task = self._progress.tasks[self._progress.task_ids.index(self._id)]
        rate = rate_text(1 / task.speed, self._unit) if task.speed else ""
        figures = _figures(info) if info else task.fields["info"]
        self._progress.update(self._id, advance=amount, rate=rate, info=figures)
        if line := self._forecast.line(amount, int(task.remaining or 0)):
            self._say(line)


class _Lines:
    """A plain line at the beginning, at each quarter, every half minute between them, and at the end."""

    def __init__(
        self, title: str, total: int, unit: str, *, done: int, say: Callable[[str], None], forecast: Forecast
    ) -> None:
        self._title, self._total, self._unit, self._say = title, total, unit, say
        self._before = self._done = done
        self._forecast = forecast
        self._begin = self._said = time.monotonic()
        say(self._count())

    def advance(self, amount: int = 1, **info: float) -> None:
        """Count, and say a line at a quarter or if the last one is old."""
        quarter = self._quarter()
        self._done += amount
        now = time.monotonic()
        if line := self._forecast.line(amount, self._total - self._done):
            self._say(line)
        wait = _APART if self._quarter() > quarter else _SECONDS
        if now - self._said >= wait and self._done < self._total:
            self._said = now
            each = (now - self._begin) / (self._done - self._before)
            left = seconds_text((self._total - self._done) * each)
            figures = f", {_figures(info)}" if info else ""
            self._say(f"{self._count()}, {rate_text(each, self._unit)}, {left} left{figures}")

    def close(self) -> None:
        """Say how long it took."""
        self._say(f"{self._count()} in {seconds_text(time.monotonic() - self._begin)}")

    def _quarter(self) -> int:
        return 4 * self._done // max(self._total, 1)

    def _count(self) -> str:
        return f"{self._title}: {self._done:,}/{counted(self._total, self._unit)}"


def _figures(info: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in info.items())
