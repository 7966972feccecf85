"""Seconds of the verdict's bootstrap: 1,400 models, 300 of them the bank, on 10,000 samples, 200 replicates.

The made-up models err on all samples, some or other of them, and no two samples are alike: the worst case.

    python benches/bench_bootstrap.py [--replicates 200] [--threads 2]
"""

import time

import click
import torch

from pdiff.evaluation.bootstrap import bootstrap
from pdiff.evaluation.contest import Contest
from pdiff.evaluation.families import Population
from pdiff.evaluation.judge import Judged

SAMPLES, MEMBERS, GENERATED, FAMILIES, MODELS = 10_000, 300, 200, 30, 30


def family(generator: torch.Generator, name: str, m: int, own: float) -> Judged:
    """Return m models that err where a sample is difficult, for all, for the family or for themselves."""
    hard = torch.randn(SAMPLES, generator=torch.Generator().manual_seed(0))
    hard = hard + 0.3 * torch.randn(SAMPLES, generator=generator)
    wrong = hard + own * torch.randn(m, SAMPLES, generator=generator) > 1.9
    return Judged(Population(name, own, m, lambda _: torch.empty(0)), wrong)


@click.command()
@click.option("--replicates", type=click.IntRange(1), default=200)
@click.option("--threads", type=click.IntRange(1), default=2)
def main(replicates: int, threads: int) -> None:
    """Print the seconds."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(1)
    bank = family(generator, "original", MEMBERS, 0.15)
    ours = family(generator, "generated", GENERATED, 0.2)
    rivals = [bank, *(family(generator, "noise", MODELS, 0.1 * index) for index in range(FAMILIES))]
    begin = time.perf_counter()
    contest = Contest(bank, [ours], rivals)
    built = time.perf_counter()
    bootstrap(contest, replicates=replicates, seed=0)
    done = time.perf_counter()
    click.echo(f"prepared in {built - begin:.2f} s, {replicates} replicates in {done - built:.1f} s")


if __name__ == "__main__":
    main()
