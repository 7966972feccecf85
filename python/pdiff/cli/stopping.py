"""SIGTERM, which schedulers send: commands clean up and leave as they do on Ctrl-C."""

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived (exit code 143)."""


def stop_on_sigterm() -> None:
    """Have the first SIGTERM raise `Terminated`; later ones do not disturb the cleaning up."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
