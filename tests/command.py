"""Commands as they are typed, run in this process: what the process itself does has tests of its own."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from pdiff import cli

__all__ = ["pdiff"]


def pdiff(folder: Path, *arguments: str) -> CompletedProcess[str]:
    """Run `pdiff …` in `folder`, and return what a process of its own would have left."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pdiff", *arguments])
        patch.setattr(cli, "stop_on_sigterm", lambda: None)
        with pytest.raises(SystemExit) as stop:
            cli.main()
    code = stop.value.code or 0
    assert isinstance(code, int)
    return CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())
