"""Options that several commands share, each declared once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "data_root",
    "device",
    "ema",
    "json_output",
    "out",
    "overwrite",
    "resume",
    "seed",
    "weights_key",
]

Command = TypeVar("Command", bound=Callable[..., Any])

json_output = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace what an earlier command left in --out.")
resume = click.option("--resume", is_flag=True, help="Go on with what is in --out.")
seed = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all randomness."
)
device = click.option(
    "--device", metavar="NAME", help="cpu, cuda, cuda:1, …  [default: the GPU if there is one]"
)
weights_key = click.option(
    "--key", metavar="KEY", help="Dictionary of a torch file that holds the weights: state_dict, model.ema, …"
)
ema = click.option(
    "--ema/--no-ema", default=None, help="Averaged weights only, or not at all  [default: if there are any]"
)


def out(default: str) -> Callable[[Command], Command]:
    """Return the option `--out DIR` with this default."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=default,
        show_default=True,
        help="Directory to write.",
    )


data_root = click.option(
    "--data-root", type=click.Path(path_type=Path), help="Folder of the data set, for a task that reads one."
)
