"""Rows into a network: what `load_state_dict` would put there, in the memory that is there."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pdiff.bank import collect
from pdiff.evaluation.inference.assignment import Assignment
from tests.unit.evaluation.waves import Waves, save_bank


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "f32": Waves().build("residual"),
        "bf16": Waves().build("residual").to(torch.bfloat16),
        "another order": Waves().build("linear"),
    }


@pytest.mark.parametrize("kind", ["f32", "bf16", "another order"])
def test_puts_what_a_checkpoint_holds_where_the_tensors_are(tmp_path: Path, kind: str) -> None:
    network = networks()[kind]
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    bank = save_bank(tmp_path, network, names)
    state = network.state_dict()
    if kind == "another order":
        network[1].weight.data = network[1].weight.data.t().contiguous().t()  # type: ignore[index, union-attr]
        state = network.state_dict()
    places = {name: tensor.data_ptr() for name, tensor in state.items()}
    assign = Assignment(bank, state)
    for row in bank.batch(range(len(bank))):
        assign(row)
        expected = bank.state_dict(row)
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, expected[name].to(tensor.dtype))
    assert {name: tensor.data_ptr() for name, tensor in network.state_dict().items()} == places


def test_every_name_of_a_tied_tensor_is_written(tmp_path: Path) -> None:
    network = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    network[1].weight = network[0].weight
    (tmp_path / "ckpts").mkdir()
    for seed in range(3):
        torch.nn.init.normal_(network[0].weight, generator=torch.Generator().manual_seed(seed))
        torch.save(network.state_dict(), tmp_path / "ckpts" / f"{seed}.pt")
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank")
    state = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    row = bank.batch([2])[0]
    Assignment(bank, state)(row)
    assert bank.manifest.tied
    assert torch.equal(state["0.weight"], network[0].weight)
    assert torch.equal(state["1.weight"], network[0].weight)
