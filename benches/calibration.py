"""How often the verdict's intervals hold what they should: draws of baselines, evaluated as if generated.

A bank of 300 whole-network checkpoints of mnist1d's `convnet`, large pools of models of every baseline, and
their predictions on 10,000 samples. All of them together say where a kind of model truly stands beside the
front. Each trial then sees little: 2,000 of the samples, 30 models of each baseline, and 50 others of one
kind that pose as generated ones. Counted is how often the 95 % intervals hold the true margin, and what the
verdicts are; and the same for plain percentiles of the bootstrap. Nothing here is above the front:
whatever is said to be, is so by chance.

    python benches/calibration.py [--trials 60] [--pool 400] [--samples 2000] [--replicates 200]
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

import pdiff
from pdiff.cli.console import Console
from pdiff.evaluation.inference import Predictions, Predictor
from pdiff.evaluation.inference.compared import predict_population
from pdiff.evaluation.populations import Population
from pdiff.evaluation.verdict.bootstrap import bootstrap, interval
from pdiff.evaluation.verdict.comparison import Comparison
from pdiff.evaluation.verdict.pareto_front import Values
from pdiff.evaluation.verdict.verdict import position
from pdiff.generators import fit
from pdiff.generators.sweeps import family_name, label, weight_sweeps

KINDS = (("gaussian", 1.0), ("gaussian", 2.0), ("average", 4.0), ("interpolation", 0.5))
GENERATED, BASELINES = 50, 30


def baselines(bank: pdiff.Bank, size: int) -> Iterator[Population]:
    """Yield `size` models of each baseline that needs nothing but the weights."""
    members = bank.view(range(len(bank)))
    for config in weight_sweeps(members):
        made = fit(config, members)
        yield Population(family_name(config), made.strength, size, partial(made.rows, seed=0))


def pools(folder: Path, size: int, console: Console) -> list[Predictions]:
    """Return the bank's members and `size` models of each baseline with their predictions."""
    task = pdiff.load_task("mnist1d")
    pdiff.build_zoo(
        task, task_name="mnist1d", options={}, arch="convnet", out=folder / "ckpts", seed=0, progress=console
    )
    bank = pdiff.collect(folder / "ckpts", out=folder / "bank", progress=console)
    predictor = Predictor(bank, task, "convnet")
    everyone = [
        Population("original", None, len(bank), bank.batch),
        *baselines(bank, size),
    ]
    with console.track("Evaluating", sum(each.size for each in everyone), "model") as tracker:
        return [predict_population(each, predictor, tracker) for each in everyone]


def part(predicted: Predictions, models: torch.Tensor, samples: torch.Tensor) -> Predictions:
    """Return some models of a pool on some samples."""
    population = replace(predicted.population, size=len(models))
    return Predictions(population, predicted.wrong[models][:, samples])


def trial(pool: list[Predictions], kind: int, samples: int, generator: np.random.Generator) -> Comparison:
    """Return the comparison of one trial: models of pool `kind` pose as generated ones."""
    chosen = torch.from_numpy(generator.permutation(pool[0].wrong.shape[1])[:samples])
    bank = part(pool[0], torch.arange(len(pool[0].wrong)), chosen)
    references, ours = [bank], bank
    for index, predicted in enumerate(pool[1:], start=1):
        order = torch.from_numpy(generator.permutation(len(predicted.wrong)))
        references.append(part(predicted, order[:BASELINES], chosen))
        if index == kind:
            ours = part(predicted, order[BASELINES : BASELINES + GENERATED], chosen)
    return Comparison(bank, [ours], references)


@click.command()
@click.option("--trials", type=click.IntRange(1), default=60)
@click.option("--pool", type=click.IntRange(BASELINES + GENERATED), default=400)
@click.option("--samples", type=click.IntRange(100), default=2000)
@click.option("--replicates", type=click.IntRange(10), default=200)
def main(trials: int, pool: int, samples: int, replicates: int) -> None:
    """Print a row for each kind and plane."""
    torch.set_num_threads(1)
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        predicted = pools(Path(scratch), pool, console)
    rows = []
    for name in KINDS:
        kind = next(
            index
            for index, each in enumerate(predicted)
            if (each.population.family, each.population.strength) == name
        )
        whole = Comparison(predicted[0], [predicted[kind]], predicted)
        truth = whole.estimates(whole.everything())
        assert truth.in_gg is not None
        found: dict[str, list[tuple[float, ...]]] = {"max-similarity": [], "GG": []}
        with console.track(f"Comparing {label(*name)}", trials, "trial") as tracker:
            for index in range(trials):
                comparison = trial(predicted, kind, samples, np.random.default_rng([kind, index]))
                estimates = comparison.estimates(comparison.everything())
                margins = bootstrap(comparison, replicates=replicates, seed=index)
                assert estimates.in_gg is not None
                assert margins.gg is not None
                for plane, margin, drawn in (
                    ("max-similarity", estimates.in_max_similarity.margin, margins.max_similarity),
                    ("GG", estimates.in_gg.margin, margins.gg),
                ):
                    percentiles = np.quantile(drawn, [0.025, 0.975])
                    found[plane].append((margin, *interval(margin, drawn), *percentiles))
                tracker.advance()
        for plane, true in (("max-similarity", truth.in_max_similarity), ("GG", truth.in_gg)):
            rows.append([label(*name), plane, *_summary(found[plane], true.margin)])
    columns = [
        "kind",
        "plane",
        "true",
        "margin",
        "interval",
        "holds",
        "verdicts",
        "percentiles hold",
        "verdicts",
    ]
    console.table(f"{trials} trials of {samples} samples; verdicts: above, on, below", columns, rows)


def _summary(found: list[tuple[float, ...]], true: float) -> list[str]:
    """Return the figures of all trials in one plane as text, margins in points."""
    margin, low, high, *percentiles = 100 * np.array(found).T
    return [
        f"{100 * true:+.2f}",
        f"{margin.mean():+.2f}",
        f"{low.mean():+.2f} to {high.mean():+.2f}",
        *_verdicts(low, high, 100 * true),
        *_verdicts(*percentiles, 100 * true),
    ]


def _verdicts(low: Values, high: Values, true: float) -> list[str]:
    """Return how often intervals hold the truth, and how many are above, on and below."""
    positions = [position(*ends) for ends in zip(low, high, strict=True)]
    counts = ", ".join(str(positions.count(each)) for each in ("above", "on", "below"))
    return [f"{np.mean((low <= true) & (true <= high)):.0%}", counts]


if __name__ == "__main__":
    main()
