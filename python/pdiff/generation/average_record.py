"""Define what `pdiff average` writes beside an average: `average.json`."""

from typing import Any

import msgspec

from pdiff.bank.safety import Safety


class Score(msgspec.Struct, frozen=True):
    """A score on the test split, and its interval over test samples."""

    value: float
    interval: tuple[float, float]


class Scores(msgspec.Struct, frozen=True):
    """The average beside its members."""

    task: str
    arch: str
    metric: str
    percent: bool
    samples: int
    members: int
    """Members that were scored."""
    average: Score
    best: Score
    """The member that is best on validation data (on test data if there is no validation split)."""
    mean: Score
    last: Score
    gain: Score
    """Average minus best member: positive where the average is better."""


class Record(msgspec.Struct, frozen=True):
    """The content of `average.json`."""

    format: int
    files: list[str]
    members: list[str]
    """The checkpoints that were averaged, in order."""
    weights: str
    """`uniform`, or `ema:DECAY`."""
    safety: Safety
    scores: Scores | None
    digests: dict[str, str]
    provenance: dict[str, Any]
