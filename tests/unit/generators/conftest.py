"""Banks for the families: numbers without a network, and checkpoints of a network that can be trained."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pdiff.bank import Bank
from tests.unit.evaluation.waves import Residual, Waves, save_bank
from tests.unit.generators.rows import numbers


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """Twenty checkpoints: 240 weights, one of them constant, and 40 variances of very different sizes."""
    return numbers(tmp_path)


@pytest.fixture
def network() -> nn.Module:
    """The network whose tensors the bank's checkpoints share, with lived-in running statistics."""
    torch.manual_seed(0)
    network = Residual()
    with torch.no_grad():
        network(Waves().data("train")[0])
        network.head.weight.mul_(10)  # so that predictions are not all alike
    return network.eval()


@pytest.fixture
def whole_bank(tmp_path: Path, network: nn.Module) -> Bank:
    """Checkpoints that differ in every floating tensor."""
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    return save_bank(tmp_path / "whole", network, names)
