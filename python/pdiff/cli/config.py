"""`pdiff config`: show what a preset stands for."""

from typing import Any

import click

from pdiff.cli import options


@click.command("config")
@click.argument("preset", default="default")
@click.option("--list", "names_only", is_flag=True, help="List the presets.")
@click.option("--explain", is_flag=True, help="Say of each key what it accepts and what it is for.")
@options.settings
@options.json_output
def command(preset: str, names_only: bool, explain: bool, as_json: bool, **given: Any) -> None:
    """Show every value of PRESET as TOML (or JSON), after the changes given."""
    import json

    from pdiff.common.config import PRESETS, Config

    if names_only:
        click.echo(json.dumps(list(PRESETS)) if as_json else "\n".join(PRESETS))
        return
    config = Config.build("default" if preset == "latent" else preset, **given)
    if explain:
        click.echo(json.dumps(config.explanation()) if as_json else "\n".join(config.explanation()))
        return
    if config.family == "latent" and not as_json:
        click.echo(f"# `pdiff train BANK --preset {config.name} --dry-run` says roughly what it costs.")
    click.echo(json.dumps(config.values()) if as_json else config.toml())
