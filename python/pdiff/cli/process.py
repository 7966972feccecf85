"""Prepare the process of a command: printing errors name their cause, SIGTERM cleans up like Ctrl-C."""

import io
import os
import signal
import sys
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


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived (exit code 143)."""


def stop_on_sigterm() -> None:
    """Have the first SIGTERM raise `Terminated`; later ones do not disturb the cleaning up."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
