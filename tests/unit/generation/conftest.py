"""A family that the tests of generation know all about, in the place of `noise`."""

import pytest

from pdiff.generators import FAMILIES


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the family `noise` be the tests' own."""
    monkeypatch.setitem(FAMILIES, "noise", "tests.unit.generation.stub:Shifted")
