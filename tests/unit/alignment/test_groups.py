"""Groups derived from the forward pass are those by hand, and permuting them leaves the function as it is."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pdiff.alignment.groups import Group, symmetries
from pdiff.alignment.symmetry import Symmetry
from pdiff.common.errors import InputError
from pdiff.common.torch_rng import seeded
from pdiff.tasks import load_task
from pdiff.tasks.data import tensors_in
from tests.forks import run
from tests.unit.alignment.networks import BUILT_IN, ODD, SHAPES, Residual, by_hand


def plain(groups: Sequence[Group]) -> list[list[tuple[str, int]]]:
    assert all(axis.outer == 1 for group in groups for axis in group.axes)
    return sorted(sorted((axis.tensor, axis.dimension) for axis in group.axes) for group in groups)


@pytest.mark.parametrize(("task", "arch"), BUILT_IN)
def test_the_groups_of_built_in_networks_are_those_by_hand(task: str, arch: str) -> None:
    network = load_task(task).build(arch)
    groups = symmetries(network, torch.randn(2, *SHAPES[task]), arch).groups
    assert plain(groups) == sorted(sorted(group) for group in by_hand(task, arch))
    for group in groups:
        assert {network.state_dict()[axis.tensor].shape[0] for axis in group.axes if axis.dimension == 0} == {
            group.units
        }


def test_the_groups_of_a_resnet18() -> None:
    pytest.importorskip("torchvision")
    network = load_task("fashion").build("resnet18")
    groups = symmetries(network, torch.randn(2, 1, 28, 28), "resnet18").groups
    # Of each width the stream of its two blocks, and a layer within each block.
    assert sorted(group.units for group in groups) == [n for n in (64, 128, 256, 512) for _ in range(3)]
    stream = next(group for group in groups if group.axes[0].tensor == "conv1.weight")
    norms = [f"{name}.weight" for name in ("bn1", "layer1.0.bn2", "layer1.1.bn2")]
    assert {axis.tensor for axis in stream.axes}.issuperset([*norms, "layer2.0.downsample.0.weight"])


def filled(network: nn.Module) -> nn.Module:
    """The network with numbers that are not those of any other unit."""
    with seeded(0, "test"), torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) + 0.2 if "var" in name else torch.randn(tensor.shape))
    return network.eval()


def shuffle(network: nn.Module, groups: Sequence[Group]) -> list[str]:
    """Permute all groups of a network at random; return the names of tensors that changed."""
    state = network.state_dict(keep_vars=True)
    own = {tensor.data_ptr(): name for name, tensor in reversed(state.items()) if tensor.dim()}
    names = sorted(own.values())
    flat = torch.cat([state[name].detach().flatten() for name in names])
    begins = np.cumsum([0, *(state[name].numel() for name in names)])
    places = {name: (int(b), tuple(state[name].shape)) for name, b in zip(names, begins, strict=False)}
    symmetry = Symmetry(places, [(group.units, group.axes) for group in groups])
    orders = [np.roll(np.arange(units), 1) for units in symmetry.units]
    moved = torch.from_numpy(symmetry.permuted(flat.numpy(), orders))
    changed = []
    for name in names:
        begin, shape = places[name]
        new = moved[begin : begin + state[name].numel()].view(shape)
        changed += [name] if not torch.equal(new, state[name]) else []
        state[name].data.copy_(new)
    return changed


@pytest.mark.parametrize("name", ODD)
def test_permuting_groups_leaves_the_function_as_it_is(name: str) -> None:
    build, inputs, units = ODD[name]
    network = filled(build())
    groups = symmetries(network, inputs, name).groups
    assert [group.units for group in groups] == units
    with torch.no_grad():
        before = tensors_in(network(inputs))
        changed = shuffle(network, groups)
        after = tensors_in(network(inputs))
    assert {axis.tensor for group in groups for axis in group.axes} == set(changed)
    for ours, theirs in zip(after, before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_heads_are_permuted_as_blocks() -> None:
    groups = symmetries(ODD["encoder"][0](), ODD["encoder"][1], "encoder").groups
    heads = next(group for group in groups if group.units == 3)
    found = {
        (axis.tensor.removeprefix("layers.layers.0."), axis.dimension, axis.outer) for axis in heads.axes
    }
    assert found == {
        ("self_attn.in_proj_weight", 0, 3),  # of queries, of keys, of values
        ("self_attn.in_proj_bias", 0, 3),
        ("self_attn.out_proj.weight", 1, 1),
    }


class Branching(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class Sorting(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).sort(dim=-1)[0])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(4, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0][:, -1]


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (Recurrent(), (3, 5, 4), r"^mine: inner: hidden units cannot be followed through aten\.\w*rnn\w*"),
        (Sorting(), (3, 4), r"^mine: the forward pass: hidden units cannot be followed through aten.sort"),
        (Branching(), (3, 4), r"^mine: hidden units cannot be found: .*an operation depends on the data$"),
        (Residual(), (3, 5), r"^mine: hidden units cannot be found in first: .*shapes cannot be multiplied"),
    ],
)
def test_what_cannot_be_followed_is_refused_naming_the_module(
    network: nn.Module, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        symmetries(network, torch.randn(shape), "mine")
    assert "\n" not in str(caught.value)
    assert network.training, "in the mode it was"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_torchs_compiler_is_not_imported() -> None:
    done = run(
        "import sys, torch\n"
        "from pdiff.alignment.groups import symmetries\n"
        "from pdiff.tasks import load_task\n"
        "symmetries(load_task('mnist1d').build('resnet'), torch.randn(2, 40), 'resnet')\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    assert done.returncode == 0, done.stderr
