"""Run the command `pdiff`: one file a command, loaded when called, so that `--help` never imports torch."""

import os
import sys
from typing import Any

import click

from pdiff.cli.process import Terminated, going_on, prepare_streams, stop_on_sigterm, typed
from pdiff.common.blame import described, user_place
from pdiff.common.errors import PdiffError, UsageError, exit_code, missing

__all__ = ["cli", "main"]

_COMMANDS = {
    "demo": "Run everything below on built-in data, offline, in a few minutes.",
    "zoo": "Train a network and save checkpoints of it, one a step.",
    "inspect": "Say what files, folders and banks hold.",
    "collect": "Turn a folder of checkpoints into a bank.",
    "average": "Average the checkpoints of a folder, and say whether that is safe.",
    "train": "Fit a generator to a bank.",
    "generate": "Draw new checkpoints from a run or a bank.",
    "export": "Write rows of a bank or of generated models as checkpoint files.",
    "evaluate": "Judge generated checkpoints: how good, and how new.",
    "report": "Write the page of an evaluation, or compare several.",
    "reproduce": "Run published experiments beside their figures.",
    "ablate": "Vary one thing after the other, and show what each changes.",
    "verify": "Check every digest of a bank, a run or generated checkpoints.",
    "convert": "Rewrite one checkpoint as safetensors.",
    "task": "Print a task to start from, for networks of your own.",
    "doctor": "Check the installation and the machine.",
    "config": "Show presets and the values that they stand for.",
}


_EXAMPLES = {
    "demo": "--out pdiff-demo",
    "zoo": "mnist1d --arch convnet --k 300 --out ckpts",
    "inspect": "ckpts --deep",
    "collect": "ckpts --last-norms 2 --out bank",
    "average": "ckpts --last 20 --out average",
    "train": "bank --preset paper --set train.lr=1e-4 --out run",
    "generate": "run --n 50 --out generated",
    "export": "generated --members 0-9 --out exported",
    "evaluate": "generated --task my_task.py:Mine --out evaluation",
    "report": "evaluation another --out report.html",
    "reproduce": "table1 --only cifar100/resnet18 --data-root ~/data --init resnet18.pth",
    "ablate": "k --task mnist1d --arch convnet --out ablation",
    "verify": "bank run generated",
    "convert": "model.pt --out model.safetensors",
    "task": "--template > my_task.py",
    "doctor": "--json",
    "config": "paper --explain",
}


_NEAR = 0.75
"""Likeness of an option, whose dashes are always alike, to one that may have been meant."""


class _Interrupted(click.ClickException):
    """Ctrl-C ended a command, which has cleaned up."""

    exit_code = 130


class _Terminated(_Interrupted):
    """SIGTERM did."""

    exit_code = 143


class _LazyGroup(click.Group):
    """Commands in the order of the work, each imported from `pdiff.cli.NAME` on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command, or return None for a name that is none."""
        if cmd_name not in _COMMANDS:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"pdiff.cli.{cmd_name}").command
        command.epilog = f"Example: pdiff {cmd_name} {_EXAMPLES[cmd_name]}"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest one."""
        from difflib import get_close_matches

        if args[0] not in _COMMANDS and (close := get_close_matches(args[0], _COMMANDS, n=1)):
            raise click.UsageError(f"no command {args[0]!r}; did you mean {close[0]!r}?", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; click itself would print an empty line when it is interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            kind = _Terminated if isinstance(error, Terminated) else _Interrupted
            raise kind(going_on(str(error)) or _interrupted(ctx.invoked_subcommand)) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="pdiff-nn", prog_name="pdiff")
def cli() -> None:
    """Learn from a folder of checkpoints, generate new parameters of the same network, and judge them.

    \b
    pdiff collect ./ckpts      → bank/
    pdiff train                → run/
    pdiff generate --n 50      → generated/
    pdiff evaluate             → evaluation/report.html

    Exit codes: 0 done, 1 failure, 2 usage, 3 input refused, 130 Ctrl-C, 143 SIGTERM; 75 `train` stopped by
    SIGTERM or SIGUSR1 with its state saved.
    """  # noqa: D301 (click reads the escape: the lines below it are kept as they are)


def main() -> None:
    """Run the command line; errors become one line on stderr and an exit code."""
    prepare_streams()
    stop_on_sigterm()
    try:
        # without words, the help; None, or the code of a `click.exceptions.Exit`
        sys.exit(cli(sys.argv[1:] or ["--help"], standalone_mode=False))
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        text = _worded(error)
        hint = f"{'' if text.endswith('?') else ';'} see `{context.command_path} --help`" if context else ""
        _fail(text + hint, error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        _fail(str(error.__cause__ or "") or "interrupted", 130)
    except BrokenPipeError:
        sys.exit(1)
    except PdiffError as error:
        _fail(going_on(str(error)), exit_code(error))
    except ImportError as error:
        if (lacking := missing(error, f"pdiff {' '.join(sys.argv[1:2])}")) is None:
            raise
        _fail(str(lacking), exit_code(lacking))
    except Exception as error:
        if place := user_place(error):
            _fail(f"{place}: {described(error)}", exit_code(UsageError()))
        if not isinstance(error, OSError):
            raise
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)


def _worded(error: click.ClickException) -> str:
    """Return click's message; for an option that is none, as other messages are, with what is really near."""
    if not isinstance(error, click.NoSuchOption):
        return error.format_message().rstrip(".")
    from difflib import get_close_matches

    near = get_close_matches(error.option_name, error.possibilities or (), n=1, cutoff=_NEAR)
    return f"no option {error.option_name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _interrupted(command: str | None) -> str:
    """Say that a command was interrupted, and where it may be given again to go on."""
    if command == "evaluate" and "--no-cache" not in sys.argv:
        return f"interrupted; predictions are cached, so the same command goes on: `{typed(*sys.argv[1:])}`"
    return "interrupted"


def _fail(message: str, code: int) -> None:
    color = False if os.environ.get("NO_COLOR") else None  # no-color.org; None: where it is a terminal
    click.echo(f"{click.style('pdiff:', fg='red', bold=True)} {message}", err=True, color=color)
    sys.exit(code)
