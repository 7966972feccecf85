"""`pdiff zoo`: a task → a folder of checkpoints."""

from pathlib import Path
from typing import Any

import click

from pdiff.cli import options
from pdiff.common.wording import counted

__all__ = ["command"]


@click.command("zoo")
@click.argument("task")
@click.option("--arch", metavar="NAME", help="Network to train.  [default: the task's first]")
@options.out("ckpts")
@click.option("--k", type=click.IntRange(1), default=300, show_default=True, help="Checkpoints of each run.")
@click.option(
    "--subset", default="all", show_default=True, help="What changes: last-norms[:N], all, or a GLOB."
)
@click.option(
    "--optimizer", metavar="NAME", help="sgd, adam or adamw, for the K steps.  [default: the recipe's]"
)
@click.option("--lr", type=float, help="Constant learning rate of the K steps.  [default: the recipe's]")
@click.option(
    "--epochs", type=click.IntRange(1), help="Epochs of training to convergence.  [default: the recipe's]"
)
@click.option(
    "--runs", type=click.IntRange(1), default=1, show_default=True, help="Independent trajectories."
)
@click.option(
    "--format", "fmt", type=click.Choice(["safetensors", "pth"]), default="safetensors", show_default=True
)
@options.data_root
@options.seed
@options.overwrite
@options.json_output
def command(
    task: str,
    arch: str | None,
    out: Path,
    k: int,
    subset: str,
    optimizer: str | None,
    lr: float | None,
    epochs: int | None,
    runs: int,
    fmt: Any,
    data_root: Path | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train a network of TASK (mnist1d, digits, fashion or FILE.py:FACTORY), then save K checkpoints of it.

    The paper's protocol: after convergence only the subset goes on training, at a constant learning rate,
    and every step is saved.
    """
    from pdiff.cli.console import Console
    from pdiff.tasks import load_task
    from pdiff.tasks.base import described, metric_name
    from pdiff.zoo import build_zoo

    console = Console(as_json)
    if ".py:" in task:  # the folder of checkpoints remembers the task, wherever it is collected
        task = str(Path(task).resolve())
    task_options = {} if data_root is None else {"data_root": str(data_root.resolve())}
    built = load_task(task, **task_options)
    result = build_zoo(
        built,
        task_name=task,
        options=task_options,
        arch=arch or built.architectures[0],
        out=out,
        k=k,
        subset=subset,
        optimizer=optimizer,
        lr=lr,
        seed=seed,
        runs=runs,
        fmt=fmt,
        overwrite=overwrite,
        progress=console,
        epochs=epochs,
    )
    mean = sum(result.scores) / len(result.scores)
    checkpoints = counted(len(result.scores), "checkpoint")
    console.say(f"{out}: {checkpoints}, mean validation {described(built, mean)}, {result.seconds:.1f} s")
    console.result(
        {
            "zoo": str(out),
            "checkpoints": len(result.scores),
            "metric": metric_name(built),
            "mean": mean,
            "seconds": result.seconds,
        }
    )
