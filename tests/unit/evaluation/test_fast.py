"""Small networks with the samples last: the same numbers but for rounding, the same decisions to the last."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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
    "inputs cut off": (lambda: nn.Sequential(nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (6,)),
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


def test_inputs_may_lie_in_any_order_but_weights_may_not() -> None:
    torch.manual_seed(0)
    network, inputs = mlp(6, (4,), 3).eval(), torch.randn(6, 9).t()
    targets = torch.arange(9) % 3
    with torch.inference_mode():
        forward = FastForward(network, inputs, targets)
        assert close(forward.margins([forward.fold()])[0], margins(network(inputs), targets))
        network.head.weight.data = network.head.weight.data.t().contiguous().t()
        with pytest.raises(Unsuited, match="numbers that are not in C order"):
            FastForward(network, inputs, targets)


def margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Subtract the largest other logit from the target's, [N, classes] and [N] → [N]."""
    others = logits.masked_fill(nn.functional.one_hot(targets, logits.shape[1]).bool(), -torch.inf)
    return logits[torch.arange(len(logits)), targets] - others.amax(dim=1)


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("samples", [1, 31, 32, 65, SAMPLES])
def test_gives_the_margins_but_for_rounding(case: tuple[nn.Module, Tensor], samples: int) -> None:
    network, inputs = case
    inputs = inputs[:samples]
    with torch.inference_mode():
        classes = network(inputs).shape[1]
        targets = torch.arange(samples) % classes
        forward = FastForward(network, inputs, targets)
        models, expected = [], []
        for seed in range(3):
            change(network, seed)
            models.append(forward.fold())
            expected.append(margins(network(inputs), targets))
        assert close(forward.margins(models), torch.stack(expected))


def test_a_margin_does_not_depend_on_company_or_threads(case: tuple[nn.Module, Tensor]) -> None:
    network, inputs = case
    targets = torch.arange(SAMPLES) % 3
    with torch.inference_mode():
        forward, models = FastForward(network, inputs, targets), []
        for seed in range(3):
            change(network, seed)
            models.append(forward.fold())
        together = forward.margins(models)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(3)
            assert torch.equal(forward.margins(models), together)
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(torch.cat([forward.margins([model]) for model in models]), together)
        assert torch.equal(FastForward(network, inputs[:40], targets[:40]).margins(models), together[:, :40])
        assert len(together.unique(dim=0)) == 3


@st.composite
def stacks(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, int]]:
    """Convolutions and a linear layer, normalised and cut off or not, and the shape of an input."""
    channels, places = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    shape, layers = (channels, places), list[nn.Module]()
    for _ in range(draw(st.integers(0, 3))):
        padding, stride = draw(st.integers(0, 3)), draw(st.integers(1, 3))
        width = draw(st.integers(1, min(5, places + 2 * padding)))
        out = draw(st.integers(1, 9))
        layers.append(nn.Conv1d(channels, out, width, stride, padding, bias=draw(st.booleans())))
        layers += draw(st.sampled_from([[], [nn.BatchNorm1d(out)], [nn.BatchNorm1d(out, affine=False)]]))
        layers += draw(st.sampled_from([[], [nn.ReLU()], [nn.Identity(), nn.ReLU(), nn.ReLU()]]))
        channels, places = out, (places + 2 * padding - width) // stride + 1
    if draw(st.booleans()):
        layers.append(nn.AdaptiveAvgPool1d(1))
        places = 1
    layers += [nn.Flatten(), nn.Linear(channels * places, 3)]
    return nn.Sequential(*layers), shape


@given(stacks(), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_any_stack_of_layers_gives_its_margins(
    stack: tuple[nn.Module, tuple[int, int]], samples: int, seed: int
) -> None:
    (network, shape), generator = stack, torch.Generator().manual_seed(seed)
    for tensor in network.eval().state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.3).abs_()
    for parameter in network.parameters():
        parameter.data.sub_(0.3)
    inputs = torch.randn(samples, *shape, generator=generator)
    targets = torch.randint(3, (samples,), generator=generator)
    with torch.inference_mode():
        forward = FastForward(network, inputs, targets)
        assert close(forward.margins([forward.fold()])[0], margins(network(inputs), targets))


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
        count = int((margins(network(inputs), targets).abs() < 1e-5).sum())
        assert 2 * count <= len(inputs) and count > 2 * decisions._ASKED, "or this means nothing"
        later = (
            count - decisions._ASKED // 2
        )  # that many of the nearest have been asked first, and some others
        assert ways.asked in range(decisions._ASKED, later + 2 * decisions._ASKED, decisions._ASKED)
        assert ways.asked >= count


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
        assert ways.asked == decisions._ASKED


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
        assert ways.asked > decisions._ASKED
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


@pytest.mark.parametrize("wrong", [0.0, 3e-7])
def test_a_wrong_margin_near_a_tie_leaves_the_model_to_the_plain_network(wrong: float) -> None:
    """Among the samples asked first it makes the bound large; among those asked later it breaks it."""
    network, inputs, targets = ties()
    batches, asked = inputs.split(50), list[int]()

    def plain(index: int) -> Tensor:
        asked.append(index)
        return network(batches[index])

    with torch.inference_mode():
        ways = Decisions(network, inputs, targets, plain, 50)
        expected = ways.plainly()
        margin = ways.margins([ways.fold()])[0]
        assert torch.equal(ways.correct(margin), expected)
        asked.clear()
        assert torch.equal(ways.correct(margin), expected)
        assert not asked, "a few samples at a time"
        margin[int(margin.argmin())] = wrong
        assert torch.equal(ways.correct(margin), expected)
        assert asked == list(range(len(batches)))


def test_the_first_samples_asked_are_the_nearest_the_largest_and_some_from_all_over() -> None:
    network, inputs, _ = ties()
    inputs[23, 3] = 99
    asked = list[Tensor]()
    with torch.inference_mode():
        ways = Decisions(network, inputs, network(inputs).argmax(dim=1), lambda i: network(inputs), 400)
        margin = torch.linspace(1, 2, 400)[torch.randperm(400)]
        network.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
        ways.correct(margin)
    quarter = decisions._ASKED // 4
    assert torch.equal(asked[0][:quarter], inputs[torch.linspace(0, 399, quarter).long()])
    assert torch.equal(asked[0][quarter], inputs[23])
    sizes = inputs.abs().amax(dim=1)
    assert torch.equal(asked[0][quarter : 2 * quarter], inputs[sizes.argsort(descending=True)[:quarter]])
    nearest = (margin / sizes.clamp(min=sizes.median())).argsort()
    assert torch.equal(asked[0][2 * quarter :], inputs[nearest[: 2 * quarter]])


@pytest.mark.parametrize(("times", "apart"), [(1e6, 1e-7), (1e4, 1e-6)])
def test_rare_samples_that_round_far_worse_are_decided_as_the_plain_network_does(
    times: float, apart: float
) -> None:
    """Rounding moves their margins further than it moves most: they are asked, and most others are not."""
    torch.manual_seed(0)
    network = mlp(40, (24, 24), 4).eval()
    inputs = torch.randn(5000, 40)
    inputs[torch.randperm(5000)[:7]] *= times
    batches = inputs.split(500)
    differing = 0
    with torch.inference_mode():
        ways = Decisions(network, inputs, torch.arange(5000) % 2, lambda i: network(batches[i]), 500)
        for seed in range(50):
            change(network, seed)
            network.head.weight[1] = network.head.weight[0] * (1 + apart * torch.randn(24))
            network.head.bias[1] = (
                network.head.bias[0] - 0.05
            )  # the first two are nearly tied where it is large
            expected = ways.plainly()
            assert torch.equal(ways.correct(), expected)
            differing += int(((ways.margins([ways.fold()])[0] > 0) != expected).sum())
    assert ways.asked < 50 * 2 * decisions._ASKED
    assert differing, "or this means nothing"


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (nn.Sequential(nn.Linear(6, 3), nn.GELU()), (6,)),
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.BatchNorm1d(3)), (6,)),
        (nn.Sequential(nn.Conv1d(2, 2, 9), nn.Flatten(), nn.Linear(4, 3)), (2, 6)),
        (nn.Sequential(nn.Conv1d(2, 2**18, 1), nn.Flatten(), nn.Linear(6 * 2**18, 3)), (2, 6)),
        (nn.Sequential(nn.Linear(3, 3)), (2, 3)),
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
        FastForward(network.eval(), torch.randn(9, *shape), torch.zeros(9, dtype=torch.int64))


def test_modules_that_do_something_else_are_not_known() -> None:
    inputs, targets = torch.randn(9, 4), torch.zeros(9, dtype=torch.int64)

    def network() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Dropout()).eval()

    FastForward(network(), inputs, targets)
    patched = network()
    patched[1].forward = lambda x: x.clamp(0, 6)  # type: ignore[method-assign]
    trained = network()
    trained[2].train()
    for each in (patched, trained):
        with pytest.raises(Unsuited, match="do not do what their classes say"):
            FastForward(each, inputs, targets)
    hook = nn.modules.module.register_module_forward_hook(lambda module, _, output: output + 1)
    try:
        with pytest.raises(Unsuited, match="do not do what their classes say"):
            FastForward(network(), inputs, targets)
    finally:
        hook.remove()
