"""`pdiff generate`: a run → new checkpoints."""

from pathlib import Path
from typing import Any

import click

from pdiff.cli import options
from pdiff.common.wording import counted

__all__ = ["command"]


@click.command("generate")
@click.argument("run", type=click.Path(path_type=Path), default="run")
@click.option("--n", type=click.IntRange(1), default=50, show_default=True, help="Number of checkpoints.")
@options.out("generated")
@click.option(
    "--format",
    "fmt",
    type=click.Choice(["safetensors", "pth", "source"]),
    default="safetensors",
    show_default=True,
    help="One safetensors or torch file a model, or the files that the bank was collected from.",
)
@options.seed
@options.device
@options.overwrite
@options.json_output
def command(
    run: Path, n: int, out: Path, fmt: Any, seed: int, device: str | None, overwrite: bool, as_json: bool
) -> None:
    """Draw new checkpoints from RUN (./run by default); model i is the same for every --n."""
    import msgspec

    from pdiff.cli.console import Console
    from pdiff.generation import generate
    from pdiff.training import Run

    console = Console(as_json)
    opened = Run.open(run)
    generated = generate(
        opened, n=n, out=out, seed=seed, format=fmt, device=device, overwrite=overwrite, progress=console
    )
    cost = generated.info.cost
    console.say(f"{out}: {counted(len(generated), 'checkpoint')}, {cost.per_model_s:.2g} s each")
    console.result({"generated": str(out), "n": len(generated), "seed": seed, **msgspec.to_builtins(cost)})
