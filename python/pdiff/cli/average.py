"""`pdiff average`: average a folder of checkpoints into one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdiff.cli import options
from pdiff.common.wording import counted

if TYPE_CHECKING:
    from pdiff.cli.console import Console
    from pdiff.generation.average_record import Scores


@click.command("average")
@options.paths
@options.out("average")
@click.option("--last", metavar="N", type=click.IntRange(1), help="Average the last N checkpoints.")
@click.option("--every", metavar="N", type=click.IntRange(1), default=1, help="Of these, one in N.")
@click.option(
    "--weights",
    metavar="uniform|ema:DECAY",
    default="uniform",
    show_default=True,
    help="All alike, or a moving average that ends at the last one.",
)
@options.file_format(
    *("safetensors", "pth", "source"),
    text="One safetensors or torch file (.pth), or what each checkpoint is (names end like theirs).",
)
@options.reading
@options.task
@click.option("--no-task", is_flag=True, help="Look at the weights alone, run no network.")
@options.reestimate(
    *(0, "Training inputs for new BatchNorm statistics, with a task; 0 averages them."),
    default=4000,
    show_default=True,
)
@options.device
@options.output
def command(paths: tuple[Path, ...], no_task: bool, as_json: bool, **given: Any) -> None:
    """Average the checkpoints below PATHS (./ckpts by default), or the members of a bank, into one.

    Says whether averaging is safe: from the weights, and with a task (--task, or the one that bank or folder
    name) from scores of the average beside the best, the mean and the last checkpoint.
    """
    roots = options.there(paths)

    import msgspec

    from pdiff.cli.console import Console
    from pdiff.generation.averaging import average

    console = Console(as_json)
    task = options.task_named(given)
    done = average(*roots, task=not no_task if task is None else task, progress=console, **given)
    record = done.record
    if record.scores is not None:
        _show(console, record.scores)
    count = counted(len(record.members), "checkpoint")
    console.say(f"{done.path / record.files[0]}: the average of {count}")
    console.result({"average": str(done.path), **msgspec.to_builtins(record)})


def _show(console: "Console", scores: "Scores") -> None:
    scale, unit = (100, "%") if scores.percent else (1, "")
    rows = [
        (name, f"{scale * each.value:.2f}{unit}", " to ".join(f"{scale * end:.2f}" for end in each.interval))
        for name, each in (
            ("average", scores.average),
            (f"best of {scores.members} scored, on validation", scores.best),
            ("mean checkpoint", scores.mean),
            ("last checkpoint", scores.last),
        )
    ]
    console.table(f"{scores.task} {scores.arch}", ["", scores.metric, "95 % interval"], rows)
    low, high = (scale * end for end in scores.gain.interval)
    verdict = "is better than" if low > 0 else "is worse than" if high < 0 else "cannot be told apart from"
    points = "points" if scores.percent else scores.metric
    gain = f"{scale * scores.gain.value:+.2f} {points} ({low:+.2f} to {high:+.2f})".replace("-", "−")
    console.say(f"The average {verdict} the best checkpoint: {gain}.")
