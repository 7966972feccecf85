"""Scripts as `python -c` runs them, in forks of a process that has imported torch and much of pdiff once."""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from subprocess import CompletedProcess

__all__ = ["Forked", "run"]

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["pytest", "rich.progress", "safetensors.torch", "pdiff.bank", "pdiff.generators.train",
     "pdiff.checkpoints.unpickle", "pdiff.cli.collect", "pdiff.cli.console", "pdiff.cli.train"]
)  # fmt: skip


class Forked:
    """A process that runs a script; what is used of it is as of a `subprocess.Popen` of text."""

    def __init__(self, script: str, *arguments: str | Path, cwd: Path | None = None) -> None:
        self._files = tempfile.TemporaryDirectory()
        self._outputs = [Path(self._files.name, name) for name in ("out", "errors")]
        words = list(map(str, arguments))
        self._process = _SERVER.Process(target=_run, args=(script, words, cwd or Path.cwd(), self._outputs))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for the signal that ended it; None before the end."""
        return self._process.exitcode

    poll = returncode.fget

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        assert self._process.pid
        os.kill(self._process.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return what it wrote to stdout and stderr."""
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"still running after {timeout} s")
        with self._files:
            out, errors = (path.read_text() if path.exists() else "" for path in self._outputs)
        return out, errors

    def kill(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()


def run(script: str, *arguments: str | Path, cwd: Path | None = None) -> CompletedProcess[str]:
    """Run a script to its end."""
    process = Forked(script, *arguments, cwd=cwd)
    out, errors = process.communicate()
    assert process.returncode is not None
    return CompletedProcess([script, *map(str, arguments)], process.returncode, out, errors)


def _run(script: str, arguments: list[str], folder: Path, outputs: list[Path]) -> None:
    os.chdir(folder)
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = ["-c", *arguments]
    exec(compile(script, "<string>", "exec"), {"__name__": "__main__"})
