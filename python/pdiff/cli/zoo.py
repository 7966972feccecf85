"""`pdiff zoo`: train a network of a task and save checkpoints of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdiff.cli import options
from pdiff.common.wording import counted, seconds_text

if TYPE_CHECKING:
    from pdiff.tasks import Task
    from pdiff.zoo import ZooResult

_COUNT = click.IntRange(1)


@click.command("zoo")
@click.argument("task")
@click.option("--arch", metavar="NAME", help="Network to train.  [default: the task's first]")
@options.out("ckpts")
@click.option("--k", type=_COUNT, default=300, show_default=True, help="Checkpoints of each run.")
@click.option(
    "--subset", default="all", show_default=True, help="What changes: last-norms[:N], all, or a GLOB."
)
@click.option(
    "--optimizer", metavar="NAME", help="sgd, adam or adamw, for the K steps.  [default: the recipe's]"
)
@click.option("--lr", type=float, help="Constant learning rate of the K steps.  [default: the recipe's]")
@click.option("--epochs", type=_COUNT, help="Epochs of training to convergence.  [default: the recipe's]")
@click.option("--runs", type=_COUNT, default=1, show_default=True, help="Independent trajectories.")
@options.file_format("safetensors", "pth")
@options.data_root
@options.seed
@options.threads
@options.output
def command(task: str, arch: str | None, data_root: Path | None, as_json: bool, **given: Any) -> None:
    """Train a network of TASK (mnist1d, digits, fashion or FILE.py:FACTORY), then save K checkpoints of it.

    The paper's protocol: after convergence only the subset goes on training, at a constant learning rate,
    and every step is saved.
    """
    from pdiff.bank.manifest import ZOO
    from pdiff.common.directories import refuse_directory

    refuse_directory(given["out"], ZOO, given["overwrite"])

    from pdiff.cli.console import Console
    from pdiff.tasks import load_task
    from pdiff.zoo import build_zoo

    console = Console(as_json)
    if ".py:" in task:  # the folder of checkpoints remembers the task, wherever it is collected
        task = str(Path(task).resolve())
    how: dict[str, Any] = {} if data_root is None else {"data_root": str(data_root)}
    built = load_task(task, **how)
    arch = arch or built.architectures[0]
    given["fmt"] = given.pop("format")
    result = build_zoo(built, task_name=task, options=how, arch=arch, progress=console, **given)
    console.say(summary(result, built))
    mean = sum(result.scores) / len(result.scores)
    facts = {"checkpoints": len(result.scores), "metric": built.metric_name, "mean": mean}
    console.result({"zoo": str(result.path), **facts, "seconds": result.seconds})


def summary(result: "ZooResult", task: "Task") -> str:
    """Say in one line what has been trained and saved."""
    mean = task.describe(sum(result.scores) / len(result.scores))
    checkpoints = counted(len(result.scores), "checkpoint")
    return f"{result.path}: {checkpoints}, mean validation {mean}, {seconds_text(result.seconds)}"
