"""Show progress on stderr: bars on a terminal, a few plain lines off it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import Progress as RichProgress
from rich.progress import ProgressColumn, SpinnerColumn, Task
from rich.text import Text

from pdiff.common.progress import Forecast
from pdiff.common.wording import counted, rate_text, seconds_text

_SECONDS = 30.0
"""A plain line comes at each quarter of a step, and this long after the last one."""
_APART = 1.0
"""Seconds between two plain lines at least, and before a rate is worth saying."""
_SHORT = 3.0
"""Of a step that is over within these seconds, only the last plain line is said."""
_NARROW, _WIDE = 8, 24
"""Characters of a bar."""


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
            lines = _Lines(title, total, unit, done=done, say=self.message, forecast=forecast)
            with lines.begun():
                yield lines
            lines.close()
            return
        with RichProgress(SpinnerColumn(), _Fitted(self._err, unit), console=self._err) as progress:
            task = progress.add_task(title, total=total, completed=done, info={})
            yield _Bar(progress, task, self.message, forecast)


class _Fitted(ProgressColumn):
    """A bar's line: what is done and the time left stay whole, the rest is there if it has room."""

    def __init__(self, console: RichConsole, unit: str) -> None:
        super().__init__()
        self._console, self._unit = console, unit

    def render(self, task: Task) -> Text:
        """Return the line but for the spinner; the last figures are the first to go, and the bar the last."""
        total, elapsed = f"{int(task.total or 0):,}", task.elapsed or 0.0
        text = f"{int(task.completed):>{len(total)},}/{total}"
        if task.finished:
            text += f" in {seconds_text(elapsed)}"
        elif task.time_remaining is not None:
            text += f", {_clock(task.time_remaining)} left"
        room = self._console.width - len("⠋ ") - len(text) - 1
        title = task.description if len(task.description) <= room else f"{task.description[: room - 1]}…"
        room -= len(title)
        rate = rate_text(1 / task.speed, self._unit) if task.speed and elapsed > _APART else ""
        passed = f"{_clock(elapsed)} so far" if elapsed > _APART and not task.finished else ""
        for more in filter(None, (rate, passed, *_figures(task.fields["info"]))):
            if room - len(f", {more}") <= _NARROW:
                break
            text += f", {more}"
            room -= len(f", {more}")
        bar = min(_WIDE, room - 1) if room > _NARROW else 0
        full = bar if task.finished else int(bar * task.percentage / 100)
        drawn = ("━" * full, "bar.complete"), ("─" * (bar - full), "bar.back"), " " if bar else ""
        return Text.assemble(title, " ", *drawn, text)


def _clock(seconds: float) -> str:
    """Return a time as a clock shows it: `0:07`, `1:02:07`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Bar:
    """A bar on a terminal."""

    def __init__(
        self, progress: RichProgress, task: Any, say: Callable[[str], None], forecast: Forecast
    ) -> None:
        self._progress, self._id, self._say, self._forecast = progress, task, say, forecast

    def advance(self, amount: int = 1, **info: float) -> None:
        """Move the bar."""
        task: Task = self._progress.tasks[self._progress.task_ids.index(self._id)]
        self._progress.update(self._id, advance=amount, info=info or task.fields["info"])
        if line := self._forecast.line(amount, int(task.remaining or 0)):
            self._say(line)


class _Lines:
    """A plain line soon, at each quarter, every half minute between them, and at the end."""

    def __init__(
        self, title: str, total: int, unit: str, *, done: int, say: Callable[[str], None], forecast: Forecast
    ) -> None:
        self._title, self._total, self._unit, self._say = title, total, unit, say
        self._before = self._done = done
        self._forecast = forecast
        self._begin = self._said = time.monotonic()

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Say the first line if the block is not over soon."""

        def first() -> None:
            if self._said == self._begin:
                self._say(self._count())

        timer = Timer(_SHORT, first)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

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
            said = [self._count(), rate_text(each, self._unit), f"{left} left", *_figures(info)]
            self._say(", ".join(said))

    def close(self) -> None:
        """Say how long it took."""
        self._say(f"{self._count()} in {seconds_text(time.monotonic() - self._begin)}")

    def _quarter(self) -> int:
        return 4 * self._done // max(self._total, 1)

    def _count(self) -> str:
        return f"{self._title}: {self._done:,}/{counted(self._total, self._unit)}"


def _figures(info: dict[str, float]) -> list[str]:
    return [f"{name} {value:.4g}" for name, value in info.items()]
