"""`pdiff train`: fit a generator to a bank."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdiff.cli import options
from pdiff.common.wording import seconds_text

if TYPE_CHECKING:
    from pdiff.bank import Bank
    from pdiff.cli.console import Console
    from pdiff.common.config import AnyConfig
    from pdiff.training import Run


@click.command("train")
@click.argument("bank", type=click.Path(path_type=Path), required=False)
@options.out("run")
@options.recipe
@click.option(
    "--seed", type=click.IntRange(0), help="Seed of all randomness.  [default: the configuration's, 0]"
)
@click.option(
    "--condition",
    metavar="NAME[,NAME]",
    help="Condition on what is known of the checkpoints: accuracy, step, columns of `collect --conditions`.",
)
@click.option(
    "--self-test",
    "tried",
    is_flag=True,
    help="Only try whether the configuration learns a few checkpoints by heart; nothing is written.",
)
@options.task
@options.device
@options.resume
@options.dry_run
@options.output
def command(
    bank: Path | None, seed: int | None, tried: bool, dry_run: bool, as_json: bool, **given: Any
) -> None:
    """Fit a generator to BANK (./bank by default): latent diffusion, or what an option names.

    With --resume, bank and configuration are those of the run in --out, so that no option need be given.
    """
    if (names := given.pop("condition")) is not None:
        wanted = [name.strip() for name in names.split(",")]
        given["settings"] = (*given["settings"], f"condition={json.dumps(wanted)}")

    changes, fresh = given["settings"], any(given[name] for name in ("generator", "preset", "file"))
    config = options.configuration(given, seed)

    import msgspec

    from pdiff.bank import Bank
    from pdiff.cli.console import Console
    from pdiff.common.config import Config
    from pdiff.common.directories import refuse_begun
    from pdiff.training.run import RUN, Description

    if given["resume"] and (given["out"] / RUN).is_file() and not fresh and seed is None:
        config = Config.from_values(Description.read(given["out"]).config).changed(changes)
    console = Console(as_json)
    begun = bank is None and given["resume"] and (given["out"] / RUN).is_file()
    opened = Description.read(given["out"]).bank.open(given["out"]) if begun else Bank.open(bank or "bank")
    if not (dry_run or tried):
        refuse_begun(given["out"], RUN, resume=given["resume"], overwrite=given["overwrite"])

    from pdiff.generators.estimate import estimates  # what imports torch, after what is refused without
    from pdiff.generators.train import train, training_members

    if tried:
        _try(console, opened, config or Config.preset("default"), given["device"])
        return
    task = options.task_named(given, opened)
    if dry_run:
        members, held_out = training_members(opened, config := config or Config.preset("default"))
        lines = estimates(config, members)
        console.say(
            f"{given['out']}: {config.label()}, of {len(members):,} checkpoints × {opened.dim:,} numbers"
        )
        for line in lines:
            console.say(f"  {line}")
        console.result({"config": config.values(), "held_out": len(held_out), "estimates": lines})
        return
    run = train(opened, config=config, task=task, progress=console, **given)
    console.say(summary(run))
    console.result({"run": str(given["out"]), "digest": run.digest, **msgspec.to_builtins(run.result)})


def _try(console: "Console", bank: "Bank", config: "AnyConfig", device: str | None) -> None:
    """Fit a few members and say whether they were learned; `PdiffError` if not."""
    from dataclasses import asdict

    from pdiff.common.config import LatentConfig
    from pdiff.common.distributed import choose_device
    from pdiff.common.errors import UsageError
    from pdiff.generators.base import Context
    from pdiff.generators.self_test import self_test

    if not isinstance(config, LatentConfig):
        raise UsageError(f"--self-test is for generators that are trained, not for {config.family}")
    found = self_test(config, bank, Context(device=choose_device(device), progress=console))
    found.check()
    console.say(f"Self-test passed: {found.sentence}")
    console.result(asdict(found))


def summary(run: "Run") -> str:
    """Say in one line what has been fitted; how much of the variance is kept was said on the way."""
    said = {name: value for name, value in run.result.facts.items() if name != "variance_explained"}
    facts = (f"{name.replace('_', ' ')} {value:.4g}" for name, value in said.items())
    seconds = seconds_text(sum(run.result.seconds.values()))
    return f"{run.path}: {', '.join([run.config.label(), *facts, seconds])}"
