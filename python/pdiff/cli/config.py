"""`pdiff config`: what a preset stands for."""

from pathlib import Path

import click

from pdiff.cli import options

__all__ = ["command"]


@click.command("config")
@click.argument("preset", default="default")
@click.option("--list", "names_only", is_flag=True, help="List the presets.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file with values to change.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change one value.")
@options.json_output
def command(
    preset: str, names_only: bool, file: Path | None, settings: tuple[str, ...], as_json: bool
) -> None:
    """Show every value of PRESET as TOML (or JSON), after the changes given."""
    import json

    from pdiff.common.config import PRESETS, Config

    if names_only:
        click.echo(json.dumps(list(PRESETS)) if as_json else "\n".join(PRESETS))
        return
    config = Config.build(preset, file, settings)
    click.echo(json.dumps(config.values()) if as_json else config.toml())
