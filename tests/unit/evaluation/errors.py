"""Populations whose predictions are made up: what they get wrong is all that there is of them."""

import torch
from torch import Tensor

from pdiff.evaluation.inference import Predictions
from pdiff.evaluation.populations import Population
from pdiff.tasks.base import Metric


def predictions(
    wrong: Tensor,
    family: str = "generated",
    strength: float | None = None,
    *,
    run: int = 0,
    metric: Metric | None = None,
    measured: Tensor | None = None,
    parts: int = 1,
) -> Predictions:
    """A population of as many models as `wrong` has rows: bool [M, N · parts]."""

    def rows(_: object) -> Tensor:
        raise AssertionError("predictions are all that is asked for")

    return Predictions(
        Population(family, strength, len(wrong), rows, run=run), wrong, parts, metric, measured
    )


def models(seed: int, m: int, n: int, *, rate: float, centre: float, own: float, task: int = 0) -> Tensor:
    """M models' errors: bool [M, N], about `rate` of them wrong.

    Every model errs on what is difficult (the same for all with the same `task`), on what is difficult for
    its family (`centre`), and on what is difficult for itself (`own`).
    """
    generator = torch.Generator().manual_seed(seed)
    hard = torch.randn(n, generator=torch.Generator().manual_seed(10_000 + task))
    logits = hard + centre * torch.randn(n, generator=generator)
    logits = logits + own * torch.randn(m, n, generator=generator)
    threshold = torch.special.ndtri(torch.tensor(1 - rate)) * (1 + centre**2 + own**2) ** 0.5
    return logits > threshold
