"""Declare the options that several commands share, each once."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pdiff.bank import Bank
    from pdiff.bank.manifest import Condition
    from pdiff.common.config import AnyConfig
    from pdiff.tasks import Task

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]


def _together(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Return one decorator for several options, in the order of `--help`."""

    def decorate(command: Any) -> Any:
        for each in reversed(decorators):
            command = each(command)
        return command

    return decorate


paths = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
json_output = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace what an earlier command left in --out.")
output = _together(overwrite, json_output)
dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done and cost; write nothing.")
resume = click.option("--resume", is_flag=True, help="Go on with what is in --out.")
seed = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all randomness."
)


def _use_threads(context: click.Context, parameter: click.Parameter, number: int | None) -> None:
    """Set what torch, NumPy and the core read when they are first used, and torch where it was."""
    if number is not None:
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(number))
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(number)


threads = click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(1),
    expose_value=False,
    callback=_use_threads,
    help="Threads to compute with.  [default: all processors, or one for small networks]",
)
device = _together(
    click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, …  [default: the GPU if there is one]"),
    threads,
)
weights = _together(
    click.option(
        "--key",
        metavar="KEY",
        help="Dictionary of a torch file that holds the weights: state_dict, model.ema, …",
    ),
    click.option(
        "--ema/--no-ema",
        default=None,
        help="Averaged weights only, or not at all  [default: if there are any]",
    ),
)
reading = _together(
    click.option("--majority", is_flag=True, help="Of several kinds of checkpoint, take the largest group."),
    click.option("--strict", is_flag=True, help="Refuse the folder if any file cannot be read."),
    weights,
)
data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Folder of the data set, for a task that reads one.",
)
task = _together(
    click.option(
        "--task", metavar="TASK", help="Built-in name or FILE.py:NAME.  [default: the checkpoints' own]"
    ),
    click.option("--arch", metavar="NAME", help="Network of the checkpoints.  [default: their own]"),
    data_root,
)
settings = _together(
    click.option(
        "--config", "file", type=click.Path(path_type=Path), help="TOML file with values to change."
    ),
    click.option(
        "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change one value, e.g. train.lr=1e-4."
    ),
)
recipe = _together(
    click.option(
        "--generator",
        metavar="NAME",
        help="latent, average, gaussian, noise, interpolation, conditional or tuned.",
    ),
    click.option("--preset", metavar="NAME", help="Recipe to start from; see `pdiff config --list`."),
    settings,
)

sampling = _together(
    click.option("--sampler", metavar="NAME", help="Of a run: ddpm, ddim, dpm++2m, euler, heun or midpoint."),
    click.option("--steps", type=click.IntRange(1), help="Of a run: steps from noise to a model."),
    click.option(
        "--temperature",
        type=click.FloatRange(0),
        help="Of a run: times the noise; less stays nearer to the mean, more spreads wider.",
    ),
    click.option(
        "--guidance",
        type=click.FloatRange(0),
        help="Of a run: how far conditions are followed; 1 as trained, more exaggerates.",
    ),
)
asking = _together(
    click.option(
        "--condition", "asked", metavar="NAME=VALUE", multiple=True, help="What all models are to have."
    ),
    click.option(
        "--conditions",
        "table",
        metavar="TABLE",
        type=click.Path(path_type=Path),
        help="CSV or JSON lines: what each model is to have, in turn.",
    ),
)


def conditions(given: dict[str, Any]) -> "list[dict[str, Condition]]":
    """Take what `asking` adds out of `given`; return the rows of the table, each with the values for all."""
    from pdiff.bank.tables import parsed_row, read_rows
    from pdiff.common.errors import UsageError

    asked, table = given.pop("asked"), given.pop("table")
    pairs = dict(each.partition("=")[::2] for each in asked)
    if bare := [name for name, value in pairs.items() if not value]:
        raise UsageError(f"--condition {bare[0]}: expected NAME=VALUE")
    common = parsed_row(pairs, "--condition")
    if table is None:
        return [common] if common else []
    rows = [{**row, **common} for row in read_rows(table)]
    if not rows:
        raise UsageError(f"{table}: has no rows, so there is nothing to ask for")
    return rows


def there(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the paths of `paths`, by default ./ckpts; raises `InputError` for one that does not exist."""
    from pdiff.checkpoints.listing import require_there

    roots = paths or (Path("ckpts"),)
    for root in roots:
        require_there(root)
    return roots


def out(default: str) -> Decorator[Any]:
    """Return the option `--out DIR` with this default."""
    kind = click.Path(path_type=Path, file_okay=False)
    return click.option("--out", type=kind, default=default, show_default=True, help="Directory to write.")


def reestimate(least: int, text: str, **default: Any) -> Decorator[Any]:
    """Return the option `--reestimate N`: training inputs for new BatchNorm statistics, `least` or more."""
    return click.option("--reestimate", metavar="N", type=click.IntRange(least), help=text, **default)


def file_format(*names: str, text: str | None = None) -> Decorator[Any]:
    """Return the option `--format`, of which the first is the default."""
    kind = click.Choice(names)
    return click.option("--format", type=kind, default=names[0], show_default=True, help=text)


def named(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, so that the function's own defaults hold for the others."""
    return {name: value for name, value in given.items() if value is not None}


def configuration(given: dict[str, Any], seed: int | None = None) -> "AnyConfig | None":
    """Take what `recipe` adds out of `given`; return the configuration, or None where no option names one.

    Raises `UsageError` for a generator that is none, and for `--generator` beside `--preset`.
    """
    from pdiff.common.config import PRESETS, Config
    from pdiff.common.errors import UsageError, unknown
    from pdiff.generators import FAMILIES

    generator, preset, file, changes = (given.pop(n) for n in ("generator", "preset", "file", "settings"))
    if generator is not None and preset is not None:
        raise UsageError("--preset names a generator too; choose one of --generator and --preset")
    if generator is not None and generator not in PRESETS:
        if generator not in FAMILIES:
            raise unknown("generator", generator, FAMILIES)
        generator = "default"  # of the family latent, whose presets have names of their own
    start = generator or preset
    if start is None and file is None and seed is None and not changes:
        return None
    return Config.build(start or "default", file, changes, seed)


def task_named(given: dict[str, Any], bank: "Bank | None" = None) -> "Task | None":
    """Take `task` and `data_root` out of `given`; return the task, or None to take the checkpoints' own."""
    from pdiff.common.errors import UsageError

    name, root = given.pop("task"), given.pop("data_root")
    if name is None and root is None:
        return None
    from pdiff.tasks import load_task

    if root is None:
        return load_task(name) if name else None
    if name is None and bank is not None and bank.task is not None:
        name = bank.task.name
    if name is None:
        raise UsageError("--data-root says where a task's data is; say which task with --task")
    return load_task(name, data_root=str(root))
