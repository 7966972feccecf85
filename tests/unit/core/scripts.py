"""Scripts that use the core in an interpreter of their own."""

import signal
import subprocess
import sys
import textwrap
import time

from tests.killing import finish

__all__ = ["interrupted", "run"]


def run(script: str, *arguments: str) -> str:
    """Run `script` in a new interpreter and return what it prints."""
    command = _command(script, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def interrupted(script: str, *arguments: str, after: float) -> str:
    """Run `script`, press Ctrl-C `after` it says that it is ready; return what it prints then."""
    with subprocess.Popen(_command(script, *arguments), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        output, _ = finish(process)
    return output


def _command(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(script), *arguments]
