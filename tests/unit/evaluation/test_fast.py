"""Small networks with the samples last: the same numbers but for rounding, the same decisions to the last."""

import pytest
import torch
from torch import Tensor, nn

from pdiff.evaluation import decisions
from pdiff.evaluation.decisions import Decisions
from pdiff.evaluation.fast import FastForward, Unsuited
from pdiff.tasks.networks import convnet1d, mlp, resnet1d

SAMPLES = 333


class Shared(nn.Module):
    """A value that two read, one of them in place, and a convolution of another stride and no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 6, 4, padding=3)
        self.norm = nn.BatchNorm1d(6, affine=False)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv1d(6, 6, 1)
        self.third = nn.Conv1d(6, 4, 3, stride=3, bias=False)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        y = torch.add(self.relu(self.second(x)), x)
        return self.head(self.flatten(self.third(y)))


def lived_in(network: nn.Module, inputs: Tensor) -> nn.Module:
    """Give BatchNorm statistics and weights of both signs, and logits a size."""
    with torch.no_grad():
        network.train()(inputs)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d) and module.affine:
                module.weight.normal_()
                module.bias.normal_()
    return network.eval()


CASES = {
    "convnet": (lambda: convnet1d(40, 16, 10), (40,)),
    "resnet": (lambda: resnet1d(40, (8, 12), 10), (40,)),
    "mlp": (lambda: mlp(40, (24, 24), 10), (40,)),
    "mlp of images": (lambda: mlp(64, (24,), 10), (1, 8, 8)),
    "channels": (Shared, (2, 10)),
    "norm after a linear layer": (
        lambda: nn.Sequential(nn.Linear(7, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 3)),
        (7,),
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    build, shape = CASES[request.param]
    torch.manual_seed(0)
    inputs = torch.randn(SAMPLES, *shape)
    return lived_in(build(), inputs), inputs


def change(network: nn.Module, seed: int) -> None:
    """Give the network other tensors in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand(tensor.shape, generator=generator))


def test_gives_the_logits_but_for_rounding(
    case: tuple[nn.Module, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, inputs = case
    for fewest in (64, 50, 333, 1000):
        monkeypatch.setattr("pdiff.evaluation.fast._BLOCK", (fewest, fewest))
        with torch.inference_mode():
            forward = FastForward(network, inputs)
            for seed in range(3):
                change(network, seed)
                expected = network(inputs)
                found = forward.logits().t()
                assert found.shape == expected.shape
                assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("batch_size", [7, 100, SAMPLES])
def test_decides_as_the_plain_network_does(case: tuple[nn.Module, Tensor], batch_size: int) -> None:
    network, inputs = case
    batches = inputs.split(batch_size)
    with torch.inference_mode():
        targets = network(inputs).argmax(dim=1)
        targets[::3] = 0
        ways = Decisions(network, inputs, targets, lambda i: network(batches[i]), batch_size)
        for seed in range(3):
            change(network, seed)
            expected = torch.cat([network(batch) for batch in batches]).argmax(dim=1) == targets
            assert torch.equal(ways.correct(), expected)
            assert torch.equal(ways.plainly(), expected)
            assert 0 < expected.sum() < SAMPLES


def ties() -> tuple[nn.Module, Tensor, Tensor]:
    """A network whose first two logits are equal but for rounding, half of the time."""
    torch.manual_seed(0)
    network = mlp(12, (16,), 3).eval()
    with torch.no_grad():
        network.head.weight[1] = network.head.weight[0]
        network.head.weight[1, :8] += 1e-7
        network.head.bias[1] = network.head.bias[0]
    return network, torch.randn(400, 12), torch.arange(400) % 2


def test_asks_the_plain_network_where_rounding_could_decide() -> None:
    network, inputs, targets = ties()
    batches = inputs.split(50)
    with torch.inference_mode():
        ways = Decisions(network, inputs, targets, lambda i: network(batches[i]), 50)
        assert torch.equal(ways.correct(), torch.cat([network(b) for b in batches]).argmax(dim=1) == targets)
        logits, others = network(inputs), targets[:, None] != torch.arange(3)
        gaps = logits[~others] - logits[others].view(-1, 2).amax(dim=1)
        count = int((gaps.abs() < 1e-5).sum())
        assert count > decisions._PROBE, "one group has to be too small for this to mean anything"
        assert ways.asked == -(-count // decisions._PROBE) * decisions._PROBE


def few_ties() -> tuple[nn.Module, Tensor, Tensor]:
    """The same, with logits far apart for all but ten samples."""
    network, inputs, targets = ties()
    inputs[:, 0] = 100.0
    inputs[20:400:40, 0] = 0.0
    with torch.no_grad():
        network.fc1.weight[0] = 0.0
        network.fc1.weight[0, 0] = 1.0
        network.head.weight[:2, 0] = torch.tensor([1.0, 0.0])
    return network, inputs, targets


def test_asks_for_a_few_samples_where_others_do_not_change_their_bits() -> None:
    network, inputs, targets = few_ties()
    batches = inputs.split(50)
    with torch.inference_mode():
        ways = Decisions(network, inputs, targets, lambda i: network(batches[i]), 50)
        assert torch.equal(ways.correct(), torch.cat([network(b) for b in batches]).argmax(dim=1) == targets)
        assert ways.asked == decisions._PROBE


def test_asks_for_whole_batches_where_the_company_changes_the_bits() -> None:
    network, inputs, targets = few_ties()
    batches = inputs.split(50)

    def plain(index: int) -> Tensor:
        outputs = network(batches[index])
        outputs[:, 1] *= 1 + 2e-7  # decides a tie the other way
        return outputs

    with torch.inference_mode():
        ways = Decisions(network, inputs, targets, plain, 50)
        expected = torch.cat([plain(i) for i in range(len(batches))]).argmax(dim=1) == targets
        assert torch.equal(ways.correct(), expected)
        assert ways.asked > decisions._PROBE
        assert ways.asked % 50 == 0


def test_a_decided_network_is_not_asked() -> None:
    network, inputs, _ = ties()
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([100.0, 0, 50]))
    with torch.inference_mode():
        ways = Decisions(network, inputs, torch.zeros(400, dtype=torch.int64), lambda i: network(inputs), 400)
        assert bool(ways.correct().all())
        assert ways.asked == 0


@pytest.mark.parametrize("damage", [torch.nan, torch.inf, 1e30])
def test_what_is_not_finite_is_left_to_the_plain_network(damage: float) -> None:
    network, inputs, targets = ties()
    with torch.no_grad():
        network.fc1.weight[0] = damage
    batches = inputs.split(50)
    with torch.inference_mode():
        ways = Decisions(network, inputs, targets, lambda i: network(batches[i]), 50)
        assert torch.equal(ways.correct(), ways.plainly())


def test_a_broken_bound_leaves_the_model_to_the_plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fast way that is wrong beyond the samples it was measured on, near ties, is found out."""
    network, inputs, targets = ties()
    batches = inputs.split(50)
    with torch.inference_mode():
        ways = Decisions(network, inputs, targets, lambda i: network(batches[i]), 50)
        original = decisions._margins

        def wrong(logits: Tensor, targets: Tensor) -> Tensor:
            margins = original(logits, targets)
            margins[decisions._PROBE :] += 0.5
            return margins

        monkeypatch.setattr(decisions, "_margins", wrong)
        assert torch.equal(ways.correct(), ways.plainly())


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (nn.Sequential(nn.Linear(6, 3), nn.GELU()), (6,)),
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.BatchNorm1d(3)), (6,)),
        (nn.Sequential(nn.ReLU(), nn.Linear(6, 3)), (6,)),
        (nn.Sequential(nn.Conv1d(2, 2, 3, dilation=2), nn.Flatten(), nn.Linear(4, 3)), (2, 6)),
        (nn.Sequential(nn.Conv1d(2, 2, 3, padding="same"), nn.Flatten(), nn.Linear(12, 3)), (2, 6)),
        (nn.Sequential(nn.Conv1d(2, 2, 3, groups=2), nn.Flatten(), nn.Linear(8, 3)), (2, 6)),
        (nn.Sequential(nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"), nn.Flatten()), (2, 6)),
        (nn.Sequential(nn.Conv1d(2, 2, 3)), (2, 6)),
        (nn.Sequential(nn.Linear(6, 3)), (2, 6)),
        (nn.Sequential(nn.Linear(6, 3).double()), (6,)),
        (nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False)), (6,)),
    ],
)
def test_what_is_not_known_is_said(network: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(Unsuited):
        FastForward(network.eval(), torch.randn(9, *shape))
