"""Generated models and their rivals on any draw of test samples and models: the same numbers, drawn again.

A draw is how often each sample, and each model, is counted. With every count 1 these are the numbers of the
table; the bootstrap draws others. Only samples that some model gets wrong matter to similarities, samples
that the same models get wrong are counted together, and only those that two models get wrong are multiplied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdiff.errors import UsageError
from pdiff.evaluation.envelope import Mixture, Values, gg_rival, similarity_rival
from pdiff.evaluation.judge import Judged

__all__ = ["Contest", "Draw", "Plane", "Standing"]

_BLOCKS, _SMALLEST_BLOCK = 6, 64
"""Strips of a symmetric product, of which only what is on and above the diagonal is computed."""


@dataclass(frozen=True)
class Draw:
    """How often samples, models and runs are counted."""

    samples: Tensor | None
    """I64 [N], indices with repeats, as many as there are samples; None for each once."""
    models: Sequence[Tensor]
    """For each group (runs of the generator first, then rivals), f64 [M] counts; their sum is not 0."""
    runs: Tensor
    """F64 [R], counts of the generated folders."""


@dataclass(frozen=True)
class Plane:
    """Where the generated models are in one plane, and what the rivals reach there."""

    at: float
    """Mean max-similarity, or mean similarity within a run (GG)."""
    score: float
    """Mean score, oriented so that higher is better."""
    rival: Mixture

    @property
    def margin(self) -> float:
        """By how much the generated models are better than the frontier."""
        return self.score - self.rival.score


@dataclass(frozen=True)
class Standing:
    """The means of the generated models and of F rivals; scores are oriented so that higher is better."""

    score: float
    max_similarity: float
    gg: float | None
    """Mean similarity of two models of a run; None if no run has two."""
    rival_scores: Values
    """[F]."""
    rival_similarities: Values
    """[F], mean max-similarities."""
    rival_gg: Values
    """[F, F], mean similarity within and between families; NaN within a family of one model."""

    @property
    def in_max_similarity(self) -> Plane:
        """The plane of max-similarity."""
        rival = similarity_rival(self.max_similarity, self.rival_similarities, self.rival_scores)
        return Plane(self.max_similarity, self.score, rival)

    @property
    def several(self) -> NDArray[np.int64]:
        """The rivals of more than one model, which have a GG."""
        return np.flatnonzero(~np.isnan(self.rival_gg.diagonal()))

    @property
    def in_gg(self) -> Plane | None:
        """The plane of GG; None where it is not defined for the generated models or for no rival."""
        rivals = self.several
        if self.gg is None or not len(rivals):
            return None
        best = gg_rival(self.gg, self.rival_gg[np.ix_(rivals, rivals)], self.rival_scores[rivals])
        first, second = int(rivals[best.first]), int(rivals[best.second])
        return Plane(self.gg, self.score, best._replace(first=first, second=second))


class Contest:
    """The generated models, run by run, and their rivals, beside the bank's members."""

    def __init__(self, bank: Judged, generated: Sequence[Judged], rivals: Sequence[Judged]) -> None:
        if not generated or not rivals:
            raise UsageError("a contest needs generated models and rivals")
        self.groups = (*generated, *rivals)
        self.runs = len(generated)
        self.samples = bank.wrong.shape[1]
        self._bank = bank
        wrong, self._column, self._shared = _merged(torch.cat([bank.wrong, *(g.wrong for g in self.groups)]))
        self._bank_wrong, self._wrong = wrong[: len(bank.wrong)].float(), wrong[len(bank.wrong) :]
        self._starts = np.cumsum([0, *(len(group.wrong) for group in self.groups)])
        metric = bank.metric
        self._sign = 1.0 if metric is None or metric.higher_is_better else -1.0

    @property
    def rivals(self) -> tuple[Judged, ...]:
        """The F rivals."""
        return self.groups[self.runs :]

    def oriented(self, score: float) -> float:
        """Turn a score into one of which more is better, and back."""
        return self._sign * score

    def everything(self) -> Draw:
        """Return the draw in which every sample, model and run counts once."""
        models = [torch.ones(len(group.wrong), dtype=torch.float64) for group in self.groups]
        return Draw(None, models, torch.ones(self.runs, dtype=torch.float64))

    def standing(self, draw: Draw) -> Standing:
        """Return where everybody stands on a draw."""
        counts = torch.cat(list(draw.models))
        rows = counts.nonzero()[:, 0]
        share = self._shares(draw, rows)  # [m, G], each column sums to 1
        errors, largest, cross = self._similarities(draw.samples, rows)
        similarities = (share.T @ largest).numpy()
        within = _within(share, cross)
        scores = self._sign * self._scores(draw, share, errors)
        ours = slice(0, self.runs)
        runs = draw.runs.numpy() * np.diff(self._starts)[ours]
        runs = runs / runs.sum()
        gg = within.diagonal()[ours]
        defined = ~np.isnan(gg) & (runs > 0)
        return Standing(
            score=float(runs @ scores[ours]),
            max_similarity=float(runs @ similarities[ours]),
            gg=float(runs[defined] @ gg[defined] / runs[defined].sum()) if defined.any() else None,
            rival_scores=scores[self.runs :],
            rival_similarities=similarities[self.runs :],
            rival_gg=within[self.runs :, self.runs :],
        )

    def _shares(self, draw: Draw, rows: Tensor) -> Tensor:
        """Return each drawn model's share of its group: f64 [m, G]."""
        share = torch.zeros(int(self._starts[-1]), len(self.groups), dtype=torch.float64)
        for group, counts in enumerate(draw.models):
            share[self._starts[group] : self._starts[group + 1], group] = counts / counts.sum()
        return share[rows]

    def _similarities(self, samples: Tensor | None, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return errors and max-similarities f64 [m] of the models `rows`, and the IoU of each two [m, m].

        The IoU between generated models and rivals, which nobody asks for, is 0.
        """
        counts = torch.bincount(
            self._column if samples is None else self._column[samples], minlength=self._wrong.shape[1] + 1
        )[:-1]  # the last column stands for the samples that nobody gets wrong
        drawn = counts.nonzero()[:, 0]
        weights, shared = counts[drawn].float(), int((drawn < self._shared).sum())
        wrong = self._wrong[rows].index_select(1, drawn).float()
        bank = self._bank_wrong.index_select(1, drawn)
        sizes, bank_sizes = wrong @ weights, bank @ weights
        wrong, bank = wrong[:, :shared], bank[:, :shared]
        weighted = wrong * weights[:shared]
        with_bank = _iou(weighted @ bank.T, sizes, bank_sizes)
        for group, judged in enumerate(self.groups):
            if judged is self._bank:  # a member is not compared with itself
                place = rows - int(self._starts[group])
                own = (place >= 0) & (place < len(judged.wrong))
                with_bank[own.nonzero()[:, 0], place[own]] = -torch.inf
        ours = int((rows < int(self._starts[self.runs])).sum())
        cross = torch.zeros(len(rows), len(rows), dtype=torch.float64)
        for part in (slice(0, ours), slice(ours, None)):
            cross[part, part] = _among(weighted[part], wrong[part], sizes[part])
        return sizes.double(), with_bank.amax(dim=1), cross

    def _scores(self, draw: Draw, share: Tensor, errors: Tensor) -> Values:
        """Return the groups' mean scores in the metric's unit: [G]."""
        if self._bank.metric is None:
            correct: Values = (share.T @ (1 - errors / self.samples)).numpy()
            return correct
        means = [
            float(judged.scores(draw.samples) @ counts / counts.sum())
            for judged, counts in zip(self.groups, draw.models, strict=True)
        ]
        return np.array(means)


def _merged(wrong: Tensor) -> tuple[Tensor, Tensor, int]:
    """Merge the samples that the same models get wrong: bool [M, N] → bool [M, U], i64 [N], S.

    The second is each sample's column, U for samples that nobody gets wrong; the first S columns are those
    that two models or more get wrong.
    """
    packed = np.packbits(wrong.T.contiguous().numpy(), axis=1)
    keys = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    columns = wrong[:, torch.from_numpy(first)]
    errors = columns.sum(dim=0)
    order = errors.argsort(descending=True, stable=True)
    order = order[errors[order] > 0]
    place = torch.full((len(first),), len(order))
    place[order] = torch.arange(len(order))
    return columns[:, order].contiguous(), place[torch.from_numpy(inverse)], int((errors > 1).sum())


def _iou(intersection: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return IoU from counts: f32 [A, B], [A], [B] → f64 [A, B]; 1 for an empty union."""
    together = intersection.double()
    union = a.double()[:, None] + b.double() - together
    return torch.where(union == 0, 1.0, together / union)


def _among(weighted: Tensor, wrong: Tensor, sizes: Tensor) -> Tensor:
    """Return the IoU of each two of m models: f64 [m, m]; what is below the diagonal is copied from above."""
    similarity = torch.empty(len(wrong), len(wrong), dtype=torch.float64)
    step = max(_SMALLEST_BLOCK, -(-len(wrong) // _BLOCKS))
    for begin in range(0, len(wrong), step):
        block, after = slice(begin, begin + step), slice(begin, None)
        found = _iou(weighted[block] @ wrong[after].T, sizes[block], sizes[after])
        similarity[block, after] = found
        similarity[after, block] = found.T
    return similarity


def _within(share: Tensor, similarity: Tensor) -> Values:
    """Return mean similarities between groups [G, G] from shares [m, G] and models' [m, m].

    Within a group the pairs are of different models: one that was drawn twice is not compared with itself.
    NaN within a group of one.
    """
    similarity.fill_diagonal_(0)
    between = share.T @ similarity @ share
    itself = share.square().sum(dim=0)
    diagonal = between.diagonal() / (1 - itself)
    diagonal[(share > 0).sum(dim=0) < 2] = torch.nan
    between.diagonal().copy_(diagonal)
    means: Values = between.numpy()
    return means
