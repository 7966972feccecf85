"""Optimisers take the steps of torch's own; `tests/unit/cli/test_cli.py` has that no compiler is imported."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pdiff.training.optimizers import SGD, Adam, AdamW

KINDS = {
    "sgd": (SGD, torch.optim.SGD, {"momentum": 0.9}),
    "adam": (Adam, torch.optim.Adam, {}),
    "adamw": (AdamW, torch.optim.AdamW, {"weight_decay": 0.1}),
}


def trained(kind: Any, kept: Any, options: dict[str, Any], steps: int) -> tuple[list[Tensor], Any]:
    """Train a small network by `kind`, then as long by `kept`, which takes over; return it and the state."""
    network = nn.Linear(3, 2)
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    optimizer = kind(network.parameters(), lr=0.1, **options)
    for step in range(2 * steps):
        if step == steps:
            state = optimizer.state_dict()
            optimizer = kept(network.parameters(), lr=1.0, **options)
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        network(torch.randn(4, 3, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()
    return [parameter.detach() for parameter in network.parameters()], optimizer.state_dict()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_steps_and_states_are_those_of_torch(name: str, fused: bool) -> None:
    ours, theirs, options = KINDS[name]
    options = {**options, "fused": fused}
    expected, state = trained(theirs, theirs, options, steps=3)
    for first, then in ((ours, ours), (theirs, ours), (ours, theirs)):
        found, left = trained(first, then, options, steps=3)
        assert all(map(torch.equal, found, expected))
        torch.testing.assert_close(left, state, rtol=0, atol=0)
