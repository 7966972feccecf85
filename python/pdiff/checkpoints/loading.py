"""Load files by running their code: each in a process of its own, forked from one that has imported torch."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from pdiff.checkpoints.records import Choice
from pdiff.common.wording import shown

_PATIENCE = 5.0
"""Seconds that a process has to end after it was told to."""


class Loader:
    """Has files loaded (`pdiff.checkpoints.unpickle`); importing torch takes seconds, a fork milliseconds.

    A context manager: what is still loading ends with it. A file that ends its process, or the one that this
    was forked from, does nothing to the files after it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def load(self, file: Path, out: Path, choice: Choice) -> str | None:
        """Write the weights in `file` to the safetensors file `out`; return why that failed, if it did."""
        ema = {None: "", True: "yes", False: "no"}[choice.ema]
        request = json.dumps([str(file), str(out), choice.key or "", ema])
        process = self._started()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(f"{request}\n".encode())
            process.stdin.flush()
            code, errors = json.loads(process.stdout.readline())
        except (BrokenPipeError, ValueError):  # it is gone
            code, errors = process.wait(), ""
            self.close()
        return None if code == 0 and out.is_file() else _cause(code, errors)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pdiff.checkpoints.unpickle"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for this process, which ends that one
            )
        return self._process

    def close(self) -> None:
        """End the process, and what it is loading."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(BrokenPipeError), process:
            process.terminate()
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cause(code: int, errors: str) -> str:
    """Return why a process failed: its signal, or the last line that it said."""
    if code < 0:
        return f"ended by signal {-code}, {signal.strsignal(-code) or 'unknown'}"
    lines = errors.strip().splitlines()
    return shown(lines[-1], 300) if lines else f"exit code {code}"
