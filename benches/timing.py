"""Ratios that survive a noisy machine: ours and the peer in turn, in one process, medians compared."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from pdiff.cli.console import Console

__all__ = ["Comparison", "compare", "print_rates"]


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


def print_rates(seconds: Mapping[str, Sequence[float]], files: int, size: int) -> None:
    """Print what each side took for `size` bytes in as many files; the first side is ours.

    `seconds` are those of each round; a side that took part in fewer is compared with the rounds it has.
    """
    ours = next(iter(seconds.values()))
    rows = []
    for title, found in seconds.items():
        ratio = statistics.median(peer / our for peer, our in zip(found, ours, strict=False))
        median = statistics.median(found)
        rows.append([title, f"{median:.2f}", f"{1e-9 * size / median:.2f}", f"{ratio:.2f}×"])
    title = f"{files} files, {1e-9 * size:.1f} GB, {torch.get_num_threads()} threads"
    Console().table(title, ["", "s", "GB/s", "peer / ours"], rows)
