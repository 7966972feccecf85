"""Ratios that survive a noisy machine: ours and the peer in turn, in one process, medians compared."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Median seconds of each side, and the median of the ratios pair by pair."""

    ours: float
    peer: float
    ratio: float
    """How many times longer the peer takes."""


def compare(ours: Callable[[], object], peer: Callable[[], object], rounds: int = 15) -> Comparison:
    """Time both in turn, `rounds` times after a warm-up; a fast side is repeated to last about 20 ms."""
    repeats = [_repeats(side) for side in (ours, peer)]
    pairs = [
        [_seconds(side, n) for side, n in zip((ours, peer), repeats, strict=True)] for _ in range(rounds)
    ]
    return Comparison(
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[1] / pair[0] for pair in pairs),
    )


def _repeats(side: Callable[[], object]) -> int:
    side()
    return max(1, int(0.02 / _seconds(side, 1)))


def _seconds(side: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        side()
    return (time.perf_counter() - begin) / repeats
