"""`pdiff demo`: run the whole way on built-in data."""

from pathlib import Path
from typing import Any

import click

from pdiff.cli import options

_MARKER = "demo.json"
_NEXT = (
    "inspect ckpts",
    "task --template > my_task.py",
    "collect ckpts",
    "train",
    "generate --n 50",
    "evaluate --task my_task.py:Mine",
)


@click.command("demo")
@options.out("pdiff-demo")
@click.option("--task", default="mnist1d", show_default=True, help="Task to train networks on.")
@click.option("--arch", default="convnet", show_default=True, help="Network to train.")
@click.option("--k", type=click.IntRange(3), default=300, show_default=True, help="Checkpoints of the bank.")
@click.option("--n", type=click.IntRange(1), default=50, show_default=True, help="Checkpoints to generate.")
@options.seed
@options.threads
@options.output
def command(
    out: Path, task: str, arch: str, k: int, n: int, seed: int, overwrite: bool, as_json: bool
) -> None:
    """Train a network, collect its checkpoints, learn from them, generate new ones, and judge those.

    Offline, on the CPU, in a few minutes. Each step is a command that you can run yourself.
    """
    from pdiff.common.directories import prepare_directory, refuse_begun

    refuse_begun(out, _MARKER, overwrite=overwrite)

    from pdiff.bank import collect
    from pdiff.cli import collect as collected
    from pdiff.cli import generate as drawn
    from pdiff.cli import train as fitted
    from pdiff.cli import zoo as trained
    from pdiff.cli.console import Console
    from pdiff.cli.evaluate import evaluate_and_report
    from pdiff.cli.process import typed
    from pdiff.common.artifacts import write_json
    from pdiff.common.config import Config
    from pdiff.common.provenance import provenance
    from pdiff.generation.sample import generate
    from pdiff.generators.train import train
    from pdiff.tasks import load_task
    from pdiff.zoo import build_zoo

    console = Console(as_json)
    prepare_directory(out, _MARKER, overwrite=overwrite)
    choice = {"task": task, "arch": arch, "k": k, "n": n, "seed": seed}
    write_json(out / _MARKER, {**choice, **provenance()})
    ckpts, bank_path, run_path = out / "ckpts", out / "bank", out / "run"
    common: dict[str, Any] = {"seed": seed, "progress": console}

    console.message(f"\n$ pdiff zoo {task} --arch {arch} --k {k} --out {ckpts}")
    built = load_task(task)
    zoo = build_zoo(built, task_name=task, options={}, arch=arch, out=ckpts, k=k, **common)
    console.say(trained.summary(zoo, built))
    console.message(f"\n$ pdiff collect {ckpts} --out {bank_path}")
    bank = collect(ckpts, out=bank_path, progress=console)
    console.say(collected.summary(bank))
    console.message(f"\n$ pdiff train {bank_path} --out {run_path}")
    run = train(bank, out=run_path, config=Config.build(seed=seed), progress=console)
    console.say(fitted.summary(run))
    console.message(f"\n$ pdiff generate {run_path} --n {n} --out {out / 'generated'}")
    generated = generate(run, n=n, out=out / "generated", **common)
    console.say(drawn.summary(generated))
    console.message(f"\n$ pdiff evaluate {out / 'generated'} --out {out / 'evaluation'}")
    evaluate_and_report(console, generated, out / "evaluation", seed=seed)
    console.message("\nNext, with a folder of your own checkpoints (./ckpts) and a task for them:")
    for step in _NEXT:
        console.message(f"  {typed()} {step}")
