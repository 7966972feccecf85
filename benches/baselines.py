"""How good and how new the simplest baselines are, with and without re-estimated BatchNorm statistics.

For each seed a bank of 300 whole-network checkpoints of mnist1d's `convnet`, and 50 models of each baseline,
evaluated on the 10,000 test samples; then all of them again with statistics of 4,000 training inputs. Prints
mean accuracy, max-similarity and GG, means over seeds.

    python benches/baselines.py [--seeds 3] [--models 50] [--work DIR]
"""

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click
import torch

import pdiff
from pdiff.bank import Bank
from pdiff.cli.console import Console
from pdiff.common.config import AverageConfig, Config, GaussianConfig, NoiseConfig
from pdiff.evaluation.inference import Predictions, Predictor
from pdiff.evaluation.inference.compared import predict_population
from pdiff.evaluation.metrics.errors import resemblance
from pdiff.evaluation.populations import REESTIMATED, Population
from pdiff.generators import fit
from pdiff.generators.sweeps import label

SCALES = (1.0, 2.0, 3.0, 6.0)
SIGMA = 0.02
AVERAGED = 16

Figures = tuple[float, float, float]
"""Mean accuracy in per cent, max-similarity, GG."""


def populations(bank: Bank, size: int, seed: int) -> Iterator[Population]:
    """Yield the bank's members, averages, Gaussians and noise."""
    yield Population("original", None, len(bank), bank.batch)
    configs: list[Config] = [
        AverageConfig(name="average", members=AVERAGED),
        *(GaussianConfig(name="gaussian", scale=scale) for scale in SCALES),
        NoiseConfig(name="noise", scale=SIGMA),
    ]
    for config in configs:
        made = fit(config, bank.view(range(len(bank))))
        yield Population(config.name, made.strength, size, partial(made.rows, seed=seed))


def build_bank(folder: Path, seed: int, console: Console) -> Bank:
    """Return the bank of a seed, made unless it is there."""
    if not (folder / "bank").exists():
        pdiff.build_zoo(
            pdiff.load_task("mnist1d"),
            task_name="mnist1d",
            options={},
            arch="convnet",
            out=folder / "ckpts",
            seed=seed,
            progress=console,
        )
        pdiff.collect(folder / "ckpts", out=folder / "bank", progress=console)
    return Bank.open(folder / "bank")


def figures(found: Predictions, members: Predictions) -> Figures:
    """Return the figures of a population."""
    alike = resemblance(found.wrong, members.wrong)
    assert alike.gg is not None
    return 100 * float(found.scores().mean()), float(alike.max_similarity.mean()), alike.gg


def measure(bank: Bank, models: int, seed: int, reestimate: int, console: Console) -> dict[str, Figures]:
    """Return every population's figures."""
    predictor = Predictor(bank, pdiff.load_task("mnist1d"), "convnet", reestimate=reestimate)
    everyone = list(populations(bank, models, seed))
    with console.track("Evaluating", sum(each.size for each in everyone), "model") as tracker:
        found = [predict_population(each, predictor, tracker) for each in everyone]
    return {
        label(each.population.family, each.population.strength): figures(each, found[0]) for each in found
    }


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=3)
@click.option("--models", type=click.IntRange(2), default=50)
@click.option("--work", type=click.Path(path_type=Path), help="Keep the banks here, and reuse them.")
def main(seeds: int, models: int, work: Path | None) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    console = Console()
    found: dict[int, list[dict[str, Figures]]] = {0: [], REESTIMATED: []}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(seeds):
            bank = build_bank((work or Path(scratch)) / f"convnet-{seed}", seed, console)
            for reestimate, each in found.items():
                each.append(measure(bank, models, seed, reestimate, console))
    rows = [
        [name, *(text for each in found.values() for text in _texts([one[name] for one in each]))]
        for name in found[0][0]
    ]
    columns = ["accuracy", "max-similarity", "GG", "re-estimated: accuracy", "max-similarity", "GG"]
    console.table(f"mnist1d convnet, {seeds} seeds", ["models", *columns], rows)


def _texts(seeds: list[Figures]) -> list[str]:
    """Return means over seeds as text."""
    accuracy, similarity, gg = (statistics.mean(values) for values in zip(*seeds, strict=True))
    return [f"{accuracy:.2f}", f"{similarity:.3f}", f"{gg:.3f}"]


if __name__ == "__main__":
    main()
