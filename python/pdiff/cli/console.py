"""Print what commands say: results on stdout, progress and messages on stderr."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console as RichConsole
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_PLAIN_SECONDS = 5.0
_PLAIN_WIDTH = 160
"""Columns of a table off a terminal, where nothing says how many there are."""


class Console:
    """Implements `pdiff.common.progress.Progress`: bars on a terminal, a plain line every few seconds off it.

    With `as_json`, stdout carries nothing but the JSON value given to `result`.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = RichConsole(soft_wrap=True)
        if not self._out.is_terminal:
            self._out.width = _PLAIN_WIDTH
        self._err = RichConsole(stderr=True, soft_wrap=True)

    @property
    def width(self) -> int:
        """Columns of stdout."""
        return self._out.width

    def message(self, text: str) -> None:
        """Say one line on stderr."""
        self._err.print(text, markup=False, highlight=False)

    def say(self, text: str) -> None:
        """Say one line of the result on stdout; not with `--json`."""
        if not self.as_json:
            self._out.print(text, markup=False, highlight=False)

    def result(self, value: Any) -> None:
        """Print the command's result as JSON, if asked for."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False, allow_nan=False))

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table on stdout, the first column left-aligned, the others right; not with `--json`."""
        if self.as_json:
            return
        table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        table.collapse_padding = True
        for number, name in enumerate(header):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        needed = Measurement.get(self._out, self._out.options.update(width=_PLAIN_WIDTH), table).maximum
        self._out.print(table, width=max(needed, self._out.width), crop=False)  # cut no number

    @contextmanager
    def track(self, title: str, total: int, unit: str = "it") -> Iterator["_Bar | _Lines"]:
        """Show one step of `total` units until the block ends."""
        if not self._err.is_terminal:
            yield (lines := _Lines(title, total, unit, self.message))
            lines.close()
            return
        with Progress(
            *(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
            *(TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn()),
            TextColumn("[dim]{task.fields[info]}"),
            console=self._err,
        ) as progress:
            yield _Bar(progress, progress.add_task(title, total=total, rate="", info=""), unit)


class _Bar:
    """A bar on a terminal."""

    def __init__(self, progress: Progress, task_id: Any, unit: str) -> None:
        self._progress, self._id, self._unit = progress, task_id, unit

    def advance(self, amount: int = 1, **info: float) -> None:
        """Move the bar."""
        task: Task = self._progress.tasks[self._progress.task_ids.index(self._id)]
        rate = f"{task.speed:,.1f} {self._unit}/s" if task.speed else ""
        figures = _figures(info) if info else task.fields["info"]
        self._progress.update(self._id, advance=amount, rate=rate, info=figures)


class _Lines:
    """One plain line every few seconds, and one at the end."""

    def __init__(self, title: str, total: int, unit: str, say: Callable[[str], None]) -> None:
        self._title, self._total, self._unit, self._say = title, total, unit, say
        self._done = 0
        self._info = ""
        self._begin = self._said = time.monotonic()

    def advance(self, amount: int = 1, **info: float) -> None:
        """Count, and say a line if the last one is old."""
        self._done += amount
        self._info = _figures(info)
        now = time.monotonic()
        if now - self._said >= _PLAIN_SECONDS and self._done < self._total:
            self._said = now
            rate = self._done / (now - self._begin)
            left = (self._total - self._done) / rate
            self._say(
                f"{self._title}: {self._done}/{self._total} {self._unit}, {rate:,.1f}/s, {left:,.0f} s left"
                + (f", {self._info}" if self._info else "")
            )

    def close(self) -> None:
        """Say how long it took."""
        seconds = time.monotonic() - self._begin
        self._say(f"{self._title}: {self._done}/{self._total} {self._unit} in {seconds:,.1f} s")


def _figures(info: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in info.items())
