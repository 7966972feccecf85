"""Print what commands say: results on stdout, progress and messages on stderr."""

import json
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console as RichConsole
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pdiff.common.bars import Shown

_PLAIN_WIDTH = 160
"""Columns of a table off a terminal, where nothing says how many there are."""


class Console(Shown):
    """With `as_json`, stdout carries nothing but the JSON value given to `result`."""

    def __init__(self, as_json: bool = False) -> None:
        super().__init__()
        self.as_json = as_json
        self._out = RichConsole(soft_wrap=True)
        if not self._out.is_terminal:
            self._out.width = _PLAIN_WIDTH

    @property
    def width(self) -> int:
        """Columns of stdout."""
        return self._out.width

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
            table.add_column(name, justify="right" if number else "left", no_wrap=number > 0, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        needed = Measurement.get(self._out, self._out.options.update(width=_PLAIN_WIDTH), table).maximum
        self._out.print(table, width=max(needed, self._out.width), crop=False)  # cut no number
