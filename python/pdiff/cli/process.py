"""Prepare the process of a command: printing errors name their cause, SIGTERM cleans up like Ctrl-C."""

import io
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType

_NAME = "standard output"


class _Named(io.FileIO):
    """A stream whose errors say which it is (a full disk has no name otherwise), and come once."""

    def write(self, data: object, /) -> int:
        """Write bytes."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # buffers are flushed again at the end
            raise OSError(error.errno, error.strerror, _NAME) from None


def prepare_streams() -> None:
    """Let characters that a stream does not know be replaced, and errors of standard output name it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows only ASCII is no reason to fail
    out = sys.stdout
    if out is sys.__stdout__ and isinstance(out, io.TextIOWrapper):
        out.flush()
        raw = _Named(out.fileno(), "w", closefd=False)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw), out.encoding, "replace", line_buffering=out.line_buffering
        )


def typed(*arguments: str) -> str:
    """Return a command of `pdiff` that can be pasted where this one was typed."""
    program = sys.argv[0]
    if Path(program).name != "pdiff":
        python = sys.executable if shutil.which("python") != sys.executable else "python"
        start = [python, "-m", "pdiff"]
    else:
        start = ["pdiff" if program == shutil.which("pdiff") else program]
    return shlex.join([*start, *arguments])


def going_on(message: str) -> str:
    """Put this command, with --resume, where a message says to go on with that option."""
    given = [word for word in sys.argv[1:] if word not in {"--overwrite", "--resume"}]
    if given[:1] == ["demo"]:
        return message.replace("go on with --resume", "go on with the last command above and --resume")
    return message.replace("go on with --resume", f"go on with `{typed(*given, '--resume')}`")


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived (exit code 143)."""


def stop_on_sigterm() -> None:
    """Have the first SIGTERM raise `Terminated`; later ones do not disturb the cleaning up."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
