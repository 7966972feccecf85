"""`pdiff zoo`: train a network of a task and save checkpoints of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdiff.cli import options
from pdiff.common.wording import counted, seconds_text

if TYPE_CHECKING:
    from pdiff.cli.console import Console
    from pdiff.tasks import Task
    from pdiff.zoo import ZooResult

_COUNT = click.IntRange(1)


@click.command("zoo")
@click.argument("task", required=False)
@click.option("--list", "listed", is_flag=True, help="List the networks that have a recipe, and stop.")
@click.option("--arch", metavar="NAME", help="Network to train.  [default: the first of its recipes]")
@options.out("ckpts")
@click.option("--k", type=_COUNT, default=300, show_default=True, help="Checkpoints of each run.")
@click.option(
    "--subset",
    help="What changes: all, last-norms[:N], norms:I-J, convs:I-J, linears:I-J, head, lora or a GLOB.  "
    "[default: the recipe's]",
)
@click.option(
    "--optimizer", metavar="NAME", help="sgd, adam or adamw, for the K steps.  [default: the recipe's]"
)
@click.option("--lr", type=float, help="Constant learning rate of the K steps.  [default: the recipe's]")
@click.option("--epochs", type=_COUNT, help="Epochs of training to convergence.  [default: the recipe's]")
@click.option("--runs", type=_COUNT, default=1, show_default=True, help="Independent trajectories.")
@click.option(
    "--init",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Checkpoint whose weights training starts from, of a pretrained network for example.",
)
@click.option("--parts", is_flag=True, help="Save the subset alone, beside one file of the whole network.")
@options.file_format("safetensors", "pth")
@options.data_root
@click.option("--download", is_flag=True, help="Let torchvision fetch the data set into --data-root.")
@options.seed
@options.device
@options.output
def command(task: str | None, listed: bool, as_json: bool, **given: Any) -> None:
    """Train a network of TASK (mnist1d, cifar10, … or FILE.py:NAME), then save checkpoints of it.

    The paper's protocol: after convergence only the subset goes on training, at a constant learning rate,
    and every step is saved, K of them.
    """
    from pdiff.cli.console import Console

    console = Console(as_json)
    if listed:
        _list(console)
        return
    if task is None:
        raise click.UsageError("which TASK? `pdiff zoo --list` shows those that have a recipe")

    from pdiff.bank.manifest import ZOO
    from pdiff.common.directories import refuse_directory

    refuse_directory(given["out"], ZOO, given["overwrite"])

    from pdiff.tasks import load_task
    from pdiff.zoo import build_zoo
    from pdiff.zoo.recipes import default_arch, row_for

    if ".py:" in task:  # the folder of checkpoints remembers the task, wherever it is collected
        task = str(Path(task).resolve())
    data_root, download = given.pop("data_root"), given.pop("download")
    own: dict[str, Any] = {"data_root": str(data_root)} if data_root else {}
    own |= {"download": True} if download else {}
    arch = given.pop("arch") or default_arch(task) or load_task(task, **own).architectures[0]
    row = row_for(task, arch)
    how = {**row.options, **own}
    built = load_task(task, **how)
    how.pop("download", None)  # the bank is not to fetch anything
    given["subset"] = given["subset"] or row.subset
    given["fmt"] = given.pop("format")
    result = build_zoo(built, task_name=task, options=how, arch=arch, progress=console, **given)
    console.say(summary(result, built))
    mean = sum(result.scores) / len(result.scores)
    facts = {"checkpoints": len(result.scores), "metric": built.metric_name, "mean": mean}
    console.result({"zoo": str(result.path), **facts, "seconds": result.seconds})


def _list(console: "Console") -> None:
    """Show every network that has a recipe, table by table."""
    import msgspec

    from pdiff.zoo.recipes import rows

    table = ""
    for row in rows():
        if row.table != table:
            table = row.table
            console.say(f"{table}:")
        numbers = "" if row.numbers is None else f", {counted(row.numbers, 'number')}"
        console.say(f"  {row.task} --arch {row.arch}  ({row.subset}{numbers}; preset {row.preset})")
    console.result({"rows": [msgspec.to_builtins(row) for row in rows()]})


def summary(result: "ZooResult", task: "Task") -> str:
    """Say in one line what has been trained and saved."""
    mean = task.describe(sum(result.scores) / len(result.scores))
    checkpoints = counted(len(result.scores), "checkpoint")
    return f"{result.path}: {checkpoints}, mean validation {mean}, {seconds_text(result.seconds)}"
