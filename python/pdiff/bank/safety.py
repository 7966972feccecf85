"""Judge from weights alone whether checkpoints can be averaged: one trajectory, or several networks.

Networks trained from different initialisations compute alike and yet have no weights in common, so that
their average is ruin, while the checkpoints of one run (or of several that were fine-tuned from one start)
lie in one basin (Frankle et al. 2020, arXiv 1912.05671; Wortsman et al. 2022, arXiv 2203.05482). It shows in
the cosines between their weight matrices: near 1 within a run, near 0 between initialisations.
"""

from math import ceil
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pdiff._core import Layout
from pdiff.bank.bank import Bank
from pdiff.checkpoints.roles import sorts_of_one_step
from pdiff.common.arrays import Array
from pdiff.common.wording import counted, some

FEWEST = 10
"""Members of a bank below which what they have in common is not known."""
SAME = 0.5
"""Cosine above which two checkpoints are taken to be of one run."""
_MOST = 1024
"""Checkpoints that are compared, evenly spread over all of them."""
_EXAMPLES = 4
_MEMBERS, _COLUMNS = 256, 2**12
"""Members of a bank that are compared, and the numbers of each."""
_FEWEST = 32
"""Numbers of weight matrices below which random ones may look alike, and related ones not."""


Numbers = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]


class Safety(msgspec.Struct, frozen=True):
    """What the weights say about averaging."""

    verdict: str
    """`one run`, `several runs`, or `same network` where no weight matrix differs."""
    runs: list[int]
    """Checkpoints of each run, in order of their first one."""
    cosine: float | None
    """Smallest cosine between the weight matrices of two neighbours in order; None without matrices."""
    spread: float
    """RMS distance of the checkpoints to their mean over the RMS of the mean, both of what differs."""
    neighbours: float
    """Median distance of neighbours in order over that of all pairs: about 1 without an order."""
    sentence: str

    @property
    def safe(self) -> bool:
        """Whether nothing speaks against averaging."""
        return self.verdict != "several runs"


def doubts(bank: Bank) -> list[str]:
    """Return what speaks against learning from a bank, a line each."""
    found = []
    if len(bank) < FEWEST:
        count = counted(len(bank), "checkpoint")
        found.append(
            f"{count}: too few for `pdiff evaluate` to reach a verdict, which takes {FEWEST} or more"
        )
    if sorts := sorts_of_one_step([member.source for member in bank.members]):
        found.append(sorts)
    if masks := _masks(bank):
        found.append(
            f"{some(masks)}: 0 and 1 alone, and generated numbers lie between; apply masks to the weights "
            "first, as torch.nn.utils.prune.remove does"
        )
    if warning := unaligned(bank):
        found.append(warning)
    return found


def _masks(bank: Bank) -> list[str]:
    """Return the tensors of rows that are called masks and hold 0 and 1 alone in some members."""
    chosen = _spread(len(bank), _EXAMPLES).tolist()
    named = [segment for segment in bank.layout.segments if "mask" in segment.name]

    def is_mask(begin: int, end: int) -> bool:
        rows = (Array(bank.manifest.dtype, bank.row(index)[begin:end]).floats() for index in chosen)
        return all(bool(np.isin(row, (0, 1)).all()) for row in rows)

    return [segment.name for segment in named if is_mask(segment.begin, segment.end)]


def unaligned(bank: Bank) -> str | None:
    """Return what to say of a bank whose members are independent networks, None for other banks.

    A mean of such members is no network, nor are models drawn around it, as most generators do.
    """
    stride = ceil(bank.dim / _COLUMNS)
    matrices = sample_columns(bank.layout, stride)
    if int(matrices.sum()) < _FEWEST:
        return None
    chosen = _spread(len(bank), _MEMBERS).tolist()
    samples = [Array(bank.manifest.dtype, bank.row(index)[::stride]).floats() for index in chosen]
    runs = judge_weights(np.stack(samples), matrices)
    if runs.safe:
        return None
    compared = "the members" if len(chosen) == len(bank) else f"{len(chosen)} members that were compared"
    found = counted(len(runs.runs), "independent run")
    if bank.manifest.aligned:
        return (
            f"Aligned, and still apart: {compared} look like {found}. Averages of them, and most generated "
            "models, are very likely much worse than they are."
        )
    return (
        f"Unaligned weights: {compared} look like {found}, which have no weights in common. Averages of "
        "them, and most generated models, are very likely useless; make a bank of each run, or of "
        "checkpoints that were fine-tuned from one start, or try `pdiff collect --align` (`--align lora` for "
        "LoRA adapters)."
    )


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most `most` of the indices below `count`, evenly spread, first and last among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def sample_columns(layout: Layout, stride: int) -> Flags:
    """Return which of every `stride`-th columns are of tensors with two or more axes: bool [D / stride]."""
    columns = np.arange(0, layout.dim, stride)
    matrices = np.zeros(len(columns), dtype=np.bool_)
    for segment in layout.segments:
        if len(segment.shape) > 1:
            matrices |= (columns >= segment.begin) & (columns < segment.end)
    return matrices


def judge_weights(samples: Numbers, matrices: Flags) -> Safety:
    """Judge from samples f32 [K, S] of the rows in order, of which bool [S] are of weight matrices."""
    rows = samples[_spread(len(samples), _MOST)].astype(np.float64)
    spread, neighbours = _distances(rows)
    if not matrices.any():
        sentence = (
            "No weight matrix differs between the checkpoints: they share one network; averaging is safe."
        )
        return Safety("same network", [len(samples)], None, spread, neighbours, sentence)
    weights = rows[:, matrices]
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True).clip(min=1e-12)
    cosines = (unit @ unit.T).clip(max=1.0)
    runs = _runs(cosines > SAME)
    sizes = np.unique(runs, return_counts=True)[1].tolist()
    nearby = float(cosines.diagonal(1).min()) if len(rows) > 1 else 1.0
    if len(sizes) == 1:
        sentence = (
            f"The checkpoints look like one run (cosine of neighbours' matrices {nearby:.2f} or more, "
            f"spread {spread:.1%} of the weights): averaging is usually safe."
        )
        return Safety("one run", sizes, nearby, spread, neighbours, sentence)
    between = float(cosines[runs[:, None] != runs].max())
    listed = ", ".join(map(str, sizes[:_EXAMPLES])) + (", …" if len(sizes) > _EXAMPLES else "")
    sentence = (
        f"The checkpoints look like {counted(len(sizes), 'independent run')} ({listed}; cosine between runs "
        f"{between:.2f} or less): their average is very likely useless. Average each run by itself."
    )
    return Safety("several runs", sizes, nearby, spread, neighbours, sentence)


def _distances(rows: Numbers) -> tuple[float, float]:
    """Return the spread, and the ratio of neighbours' distances to those of all pairs."""
    mean = rows.mean(axis=0)
    centred = rows - mean
    gram = centred @ centred.T  # [K, K]
    squares = gram.diagonal()
    scale = float(np.sqrt(np.square(mean).mean()))
    spread = float(np.sqrt(squares.mean() / rows.shape[1])) / scale if scale else 0.0
    if len(rows) < 3:
        return spread, 1.0
    distances = np.sqrt((squares[:, None] + squares - 2 * gram).clip(min=0))
    median = _median(distances[np.triu_indices(len(rows), 1)])
    return spread, _median(distances.diagonal(1)) / median if median else 1.0


def _median(numbers: Numbers) -> float:
    """Return the lower median: a number that is there."""
    return float(np.quantile(numbers, 0.5, method="lower"))


def _runs(near: Flags) -> npt.NDArray[np.int64]:
    """Return of each checkpoint the first one that it is connected with: bool [K, K] → i64 [K]."""
    np.fill_diagonal(near, True)
    runs = np.arange(len(near))
    while True:
        lower = np.where(near, runs, len(near)).min(axis=1)
        lower = lower[lower]
        if np.array_equal(lower, runs):
            return runs
        runs = lower
