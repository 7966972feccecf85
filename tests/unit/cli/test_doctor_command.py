"""`pdiff doctor` as it is typed."""

import json

import pytest
from click.testing import CliRunner

from pdiff import doctor
from pdiff.cli import cli
from pdiff.doctor import Check


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_a_line_a_check_and_failure_only_for_what_fails(
    monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    checks = [Check("python", "ok", "3.11"), Check("open files", status, "64")]  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "diagnose", lambda _: checks)
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == code
    assert result.stdout == f"ok    python       3.11\n{status:<4}  open files   64\n"
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exit_code == code
    assert json.loads(result.stdout)[1] == {"name": "open files", "status": status, "detail": "64"}
