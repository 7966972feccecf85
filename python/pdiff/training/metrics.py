"""Write the metrics of a training while it goes on: a JSON line for each step."""

import json
import os
from pathlib import Path

import torch

METRICS = ".metrics.jsonl"
"""How the name of a stage's metrics ends."""

_UNSEEN = 50
"""Steps of a GPU whose losses are read together: reading one waits for all that it was given to do."""


def unseen_losses(device: torch.device) -> int:
    """Return the losses of how many steps on a device are read together."""
    return 1 if device.type == "cpu" else _UNSEEN


class MetricsLog:
    """The metrics of steps 0, 1, … in a file that grows, or nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.lines: list[dict[str, float]] = []
        """Of the last steps, which `write` has not written yet."""

    def begin(self, step: int) -> None:
        """Keep the lines of the steps before `step`; a training that was killed has written others."""
        if self._path is None:
            return
        there = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        self._path.write_bytes(b"".join(there[:step]))

    def write(self) -> None:
        """Append the lines that are new, durably."""
        if self._path is None:
            return
        with self._path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in self.lines)
            file.flush()
            os.fsync(file.fileno())
        self.lines.clear()
