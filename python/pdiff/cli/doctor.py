"""`pdiff doctor`: check this machine and installation."""

import click

from pdiff.cli import options


@click.command("doctor")
@options.json_output
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Check the installation, the machine and the current folder; exit code 1 if a check fails."""
    from pathlib import Path

    import msgspec

    from pdiff.cli.console import Console
    from pdiff.doctor import diagnose

    console = Console(as_json)
    checks = diagnose(Path())
    for check in checks:
        console.say(f"{check.status:<4}  {check.name:<11}  {check.detail}")
    console.result(msgspec.to_builtins(checks))
    if any(check.status == "fail" for check in checks):
        context.exit(1)
