"""Stop a training by a signal, between two steps: it sets a flag, which the loop looks at."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pdiff.common.errors import PreemptedError, noted

_RESUME = "the state is saved, go on with --resume"
_PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)


class Interruption:
    """The signal that asked for a stop, if one did."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def check(self) -> None:
        """Raise what a signal stands for, if there was one: `KeyboardInterrupt` or `PreemptedError`."""
        if self.signal == signal.SIGINT:
            raise noted(KeyboardInterrupt(f"interrupted; {_RESUME}"))
        if self.signal is not None:
            raise noted(PreemptedError(f"stopped by a signal; {_RESUME}"))


NEVER = Interruption()
"""The one of fits that no signal stops."""


@contextmanager
def catch_signals() -> Iterator[Interruption]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a flag while the block runs; a second SIGINT is not caught.

    Outside the main thread, where Python delivers no signals, the flag is simply never set.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(number: int, frame: FrameType | None) -> None:
        interruption.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, *_PREEMPTING)}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
