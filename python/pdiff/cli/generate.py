"""`pdiff generate`: draw new checkpoints from a run or a bank."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdiff.cli import options
from pdiff.common.wording import counted, seconds_text, size_text

if TYPE_CHECKING:
    from pdiff.generation.generated import Generated


@click.command("generate")
@click.argument("source", metavar="[RUN|BANK]", type=click.Path(path_type=Path), required=False)
@click.option("--n", type=click.IntRange(1), default=50, show_default=True, help="Number of checkpoints.")
@options.out("generated")
@options.file_format(
    *("safetensors", "pth", "source", "rows"),
    text="One safetensors or torch file (.pth) a model, files as the bank was collected from (names end like "
    "theirs, .ckpt for instance), or rows: a bank of the models, of which `pdiff export` makes files.",
)
@options.sampling
@options.asking
@options.recipe
@options.task
@options.seed
@options.device
@options.dry_run
@options.output
def command(source: Path | None, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Draw new checkpoints from RUN (./run by default); model i is the same for every --n.

    With --generator, --preset or --config a generator is fitted to BANK (./bank by default) for this alone.
    """
    import msgspec

    from pdiff.common.errors import UsageError

    if given["settings"] and not any(given[name] for name in ("generator", "preset", "file")):
        raise UsageError("--set changes a generator that is fitted to a bank; say which with --generator")
    config = options.configuration(given)

    from pdiff.bank.writer import rows_bytes
    from pdiff.cli.console import Console
    from pdiff.common.config import ConditionalConfig
    from pdiff.common.directories import refuse_directory
    from pdiff.generation.formats import model_bytes
    from pdiff.generation.generated import GENERATED
    from pdiff.training.run import Run, open_source

    console = Console(as_json)
    opened = open_source(source or Path("run" if config is None else "bank"), bank=config is not None)
    bank = opened.bank if isinstance(opened, Run) else opened
    conditions = options.conditions(given)
    names = {"sampler": "name", **{name: name for name in ("steps", "temperature", "guidance")}}
    changes = options.named({name: given.pop(option) for option, name in names.items()})
    if isinstance(opened, Run):
        config = opened.config.sampled(**changes) if changes else opened.config
    elif changes:
        raise UsageError(
            f"{bank.path}: a bank; --sampler and its steps, temperature and guidance are for a run"
        )
    elif conditions and isinstance(config, ConditionalConfig) and not config.condition:
        config = msgspec.structs.replace(config, condition=tuple(conditions[0]))
    if dry_run:
        size = rows_bytes(given["n"], bank.layout, "F32") if given["format"] == "rows" else 0
        size = size or given["n"] * model_bytes(bank)
        label = "no generator (name one with --generator)" if config is None else config.label()
        console.say(f"{given['out']}: {counted(given['n'], 'checkpoint')} of {label}, {size_text(size)}")
        console.result({"n": given["n"], "bytes": size, "generator": label})
        return
    refuse_directory(given["out"], GENERATED, given["overwrite"])

    from pdiff.generation.sample import generate  # imports torch, after what is refused without

    task = options.task_named(given, bank)
    generated = generate(opened, config=config, conditions=conditions, task=task, progress=console, **given)
    info, out = generated.info, str(given["out"])
    console.say(summary(generated))
    facts = {"n": len(generated), "seed": given["seed"], "generator": info.generator.label}
    console.result({"generated": out, **facts, **msgspec.to_builtins(info.cost)})


def summary(generated: "Generated") -> str:
    """Say in one line what has been drawn."""
    each = seconds_text(generated.info.cost.per_model_s)
    return f"{generated.path}: {counted(len(generated), 'checkpoint')}, {each} each"
