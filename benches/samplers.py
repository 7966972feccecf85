"""Samplers, steps and temperatures on one trained generator: what each costs and what it draws.

For each network: a bank of 300 whole-network checkpoints, one run of a preset, 50 models by each sampler.
Accuracy, max-similarity and GG are on the test samples; the seconds are processor time for 200 models.

    python benches/samplers.py [--network mnist1d/convnet] [--preset default] [--set key=value] [--work DIR]
"""

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import click
import torch
from torch import Tensor

import pdiff
from pdiff.bank import Bank
from pdiff.cli.console import Console
from pdiff.common.config import Config, LatentConfig
from pdiff.evaluation.metrics.errors import resemblance
from pdiff.generators.latent import Latent
from pdiff.generators.train import load_generator
from pdiff.tasks import Task
from pdiff.tasks.data import SplitData
from pdiff.tasks.scoring import judged

MODELS, MANY, SEED = 50, 200, 0
CHOICES = (
    {"name": "ddpm", "steps": 1000},
    {"name": "ddpm", "steps": 200},
    {"name": "midpoint", "steps": 50},
    {"name": "midpoint", "steps": 10},
    {"name": "heun", "steps": 20},
    {"name": "ddim", "steps": 50},
    {"name": "ddim", "steps": 20},
    {"name": "dpm++2m", "steps": 20},
    {"name": "dpm++2m", "steps": 10},
    *({"name": "dpm++2m", "steps": 20, "temperature": t} for t in (0.5, 0.8, 1.2, 1.5)),
)


def wrong(bank: Bank, task: Task, rows: Iterable[Tensor]) -> Tensor:
    """Return which test samples each network gets wrong: bool [M, N]."""
    assert bank.task is not None
    network, data = task.build(bank.task.arch).eval(), SplitData(task, "test")
    found = []
    for row in rows:
        network.load_state_dict(bank.state_dict(row))
        found.append(judged(task, network, data).flatten())
    return torch.stack(found)


def spread(bank: Bank, rows: Tensor) -> float:
    """Return the RMS distance of rows [n, D] to their mean, in normalised units."""
    normalised = rows.clone()
    bank.normalizer("tensor").apply(normalised.numpy())
    return float((normalised - normalised.mean(dim=0)).square().sum(dim=1).mean().sqrt())


def measured(bank: Bank, rows: Tensor, errors: Tensor, members: Tensor) -> list[str]:
    """Return the columns of the table for rows [n, D] with their `errors`, beside those of the members."""
    alike = resemblance(errors, members)
    assert alike.to_others is not None
    whole = bank.batch(range(len(bank)))
    return [
        f"{1 - float(errors.float().mean()):.2%}",
        f"{float(alike.max_similarity.mean()):.3f}",
        f"{float(alike.to_others.mean()):.3f}",
        f"{spread(bank, rows) / spread(bank, whole):.2f}",
    ]


@click.command()
@click.option("--network", "networks", multiple=True, default=("mnist1d/convnet", "mnist1d/mlp"))
@click.option("--preset", default="default")
@click.option("--set", "settings", multiple=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep the files here, and reuse its banks.")
def main(networks: tuple[str, ...], preset: str, settings: tuple[str, ...], work: Path | None) -> None:
    """Print a table for each network."""
    torch.set_num_threads(1)
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        for network in networks:
            name, _, arch = network.partition("/")
            task, folder = pdiff.load_task(name), (work or Path(scratch)) / f"{network}-{SEED}"
            if not (folder / "bank").exists():
                folder.mkdir(parents=True, exist_ok=True)
                pdiff.build_zoo(task, task_name=name, options={}, arch=arch, out=folder / "ckpts", seed=SEED)
                pdiff.collect(folder / "ckpts", out=folder / "bank")
            bank = Bank.open(folder / "bank")
            config = Config.build(preset, None, settings, SEED)
            run = pdiff.train(bank, out=folder / "samplers", config=config, overwrite=True)
            members = wrong(bank, task, (bank.batch([i])[0] for i in range(len(bank))))
            rows = [["originals", *measured(bank, bank.batch(range(len(bank))), members, members), ""]]
            for choice in CHOICES:
                sampled = run.config.sampled(**choice)
                assert isinstance(sampled, LatentConfig)
                generator = load_generator(run, "cpu", config=sampled)
                assert isinstance(generator, Latent)
                begin = time.process_time()
                drawn = generator.rows(range(MANY), SEED)
                took = time.process_time() - begin
                label = " ".join(str(value) for value in choice.values())
                few = drawn[:MODELS]
                columns = measured(bank, few, wrong(bank, task, few), members)
                rows.append([label, *columns, f"{took:.2f} s"])
            names = [network, "accuracy", "max-similarity", "GG", "dispersion", f"{MANY} models"]
            console.table(f"{network}, {run.config.label()}", names, rows)


if __name__ == "__main__":
    main()
