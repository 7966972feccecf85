"""Rows into a network: what `load_state_dict` would put there, in the memory that is there."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pdiff.bank import collect
from pdiff.common.errors import InputError
from pdiff.evaluation.inference.assignment import Assignment, load
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


class Choosy(nn.Linear):
    """Takes nothing, for a reason of its own."""

    def _load_from_state_dict(self, *_: object) -> None:
        raise RuntimeError("no \n  " + 400 * "never ")


@pytest.mark.parametrize(
    ("network", "checkpoint", "reasons"),
    [
        (
            Waves().build("residual"),
            Waves().build("linear"),
            "only it has conv1.weight, conv1.bias and 14 more; only they have 1.bias, 1.weight",
        ),
        (nn.Linear(3, 2), nn.Linear(3, 2, bias=False), "only it has bias"),
        (
            nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)),
            nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)),
            "of other shapes 0.weight (it 2×3, they 5×3), 0.bias (it 2, they 5) and 1 more",
        ),
        (Choosy(1, 1), nn.Linear(1, 1), "no never never"),
    ],
)
def test_what_a_network_does_not_take_is_said_in_one_line(
    network: nn.Module, checkpoint: nn.Module, reasons: str
) -> None:
    with pytest.raises(InputError) as refusal:
        load(network, checkpoint.state_dict(), "mine")
    message = str(refusal.value)
    assert message.startswith(f"the network 'mine' does not take the bank's checkpoints: {reasons}")
    assert message.endswith("; say which network they are of with --task and --arch")
    assert len(message) < 350
    assert "\n" not in message
