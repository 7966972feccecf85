"""`pdiff train`: a bank → a run."""

from pathlib import Path

import click

from pdiff.cli import options

__all__ = ["command"]


@click.command("train")
@click.argument("bank", type=click.Path(path_type=Path), default="bank")
@options.out("run")
@click.option(
    "--preset", default="default", show_default=True, help="Recipe to start from; see `pdiff config`."
)
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file with values to change.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change one value, e.g. train.lr=1e-4."
)
@click.option(
    "--seed", type=click.IntRange(0), help="Seed of all randomness.  [default: the configuration's, 0]"
)
@options.device
@options.resume
@options.overwrite
@options.json_output
def command(
    bank: Path,
    out: Path,
    preset: str,
    file: Path | None,
    settings: tuple[str, ...],
    seed: int | None,
    device: str | None,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train a codec and a generator on BANK (./bank by default)."""
    from pdiff.common.config import Config

    config = Config.build(preset, file, settings, seed)

    import msgspec

    from pdiff.bank import Bank
    from pdiff.cli.console import Console
    from pdiff.training import train

    console = Console(as_json)
    run = train(
        Bank.open(bank),
        out=out,
        config=config,
        device=device,
        resume=resume,
        overwrite=overwrite,
        progress=console,
    )
    seconds = run.result.codec_s + run.result.denoiser_s
    console.say(
        f"{out}: preset {run.config.label()}, {run.result.latent_dim} latent numbers, {seconds:.1f} s"
    )
    console.result({"run": str(out), "digest": run.digest, **msgspec.to_builtins(run.result)})
