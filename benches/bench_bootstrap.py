"""A replicate of the verdict's bootstrap: 1,400 models, 300 of them the bank, on 10,000 samples.

The made-up models err on all samples, some or other of them, and no two samples are alike: the worst case.
The peer is the same replicate with matrix products of the drawn predictions in PyTorch, f32, which gives the
same numbers. Both have all processors.

    python benches/bench_bootstrap.py [--rounds 15]
"""

import itertools

import click
import numpy as np
import torch

from pdiff.common.rng import numpy_generator
from pdiff.evaluation.inference import Predictions
from pdiff.evaluation.metrics.errors import iou
from pdiff.evaluation.populations import Population
from pdiff.evaluation.verdict.bootstrap import _draw
from pdiff.evaluation.verdict.comparison import Comparison, Draw
from timing import compare

SAMPLES, MEMBERS, GENERATED, FAMILIES, MODELS = 10_000, 300, 200, 30, 30


def family(generator: torch.Generator, name: str, m: int, own: float) -> Predictions:
    """Return m models that err where a sample is difficult, for all, for the family or for themselves."""
    hard = torch.randn(SAMPLES, generator=torch.Generator().manual_seed(0))
    hard = hard + 0.3 * torch.randn(SAMPLES, generator=generator)
    wrong = hard + own * torch.randn(m, SAMPLES, generator=generator) > 1.9
    return Predictions(Population(name, own, m, lambda _: torch.empty(0)), wrong)


def plainly(comparison: Comparison, bank: Predictions, draw: Draw) -> tuple[list[float], list[float]]:
    """Return the mean max-similarity of each group but the bank, and the mean similarity within it."""
    assert draw.samples is not None
    members = bank.wrong[:, draw.samples]
    counts = torch.cat(list(draw.models))
    wrong = torch.cat([group.wrong for group in comparison.groups])[counts > 0][:, draw.samples]
    with_bank, among = iou(wrong, members), iou(wrong, wrong)
    nearest, within, begin = [], [], 0
    for group, times in zip(comparison.groups, draw.models, strict=True):
        weights = times[times > 0] / times.sum()
        rows = slice(begin, begin := begin + len(weights))
        if group is not bank:
            nearest.append(float(weights @ with_bank[rows].amax(dim=1)))
            pairs = weights[:, None] * weights * among[rows, rows]
            alike = float(pairs.sum() - pairs.diagonal().sum())
            within.append(alike / (1 - float(weights.square().sum())))
    return nearest, within


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=15)
def main(rounds: int) -> None:
    """Print the seconds and their ratio."""
    generator = torch.Generator().manual_seed(1)
    bank = family(generator, "original", MEMBERS, 0.15)
    ours = family(generator, "generated", GENERATED, 0.2)
    baselines = [bank, *(family(generator, "noise", MODELS, 0.1 * index) for index in range(FAMILIES))]
    comparison = Comparison(bank, [ours], baselines)
    draws = itertools.cycle(
        _draw(comparison, numpy_generator(0, "evaluate/bootstrap", replicate)) for replicate in range(10)
    )
    draw = next(draws)
    estimates, (nearest, within) = comparison.estimates(draw), plainly(comparison, bank, draw)
    assert estimates.gg is not None
    np.testing.assert_allclose([estimates.max_similarity, *estimates.baseline_similarities[1:]], nearest)
    np.testing.assert_allclose([estimates.gg, *estimates.baseline_gg.diagonal()[1:]], within)
    found = compare(
        lambda: comparison.estimates(next(draws)), lambda: plainly(comparison, bank, next(draws)), rounds
    )
    click.echo(
        f"a replicate: {1e3 * found.ours:.1f} ms, with matrix products {1e3 * found.peer:.0f} ms: "
        f"{found.ratio:.1f}x"
    )


if __name__ == "__main__":
    main()
