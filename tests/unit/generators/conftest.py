"""Banks for the families: numbers without a network, and checkpoints of a network that can be trained."""

from pathlib import Path

import pytest
from torch import nn

from pdiff.bank import Bank
from tests.unit.evaluation.waves import lived_in, save_whole_bank
from tests.unit.generators.rows import numbers


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """Twenty checkpoints: 240 weights, one of them constant, and 40 variances of very different sizes."""
    return numbers(tmp_path)


@pytest.fixture
def network() -> nn.Module:
    return lived_in()


@pytest.fixture
def whole_bank(tmp_path: Path, network: nn.Module) -> Bank:
    return save_whole_bank(tmp_path / "whole", network)
