"""Trunk caching: the same bits as the whole network, whatever it does, or no caching."""

from collections import Counter
from collections.abc import Collection
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pdiff.evaluation.inference.trunk import RepeatedForward, halve

VARYING = ("norm.weight", "norm.bias")
GENEROUS = 2**30


class Block(nn.Module):
    """A convolution that all models share, then a norm layer that differs, then what the test adds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3)
        self.norm = nn.BatchNorm1d(4)
        self.held = [self.norm.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).mean(dim=2)


class WritesToShared(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x.add_(self.norm(x))
        return x.mean(dim=2)


class WritesUnseen(Block):
    """What is returned looks shared: that it was written to in between is not in the graph's edges."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x.add_(self.norm(x))
        return x.mean(dim=2)


class WritesAfterwards(Block):
    """The norm reads the convolution before it is overwritten: doing shared work first would be wrong."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.norm(x)
        return (y + x.relu_()).mean(dim=2)


class ReadsBehindTheTracer(Block):
    """Tracing takes the norm's weight, as it is then, for a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.held[0].sum()


class ReadsIntoPython(Block):
    """Tracing the operations takes the norm's weight, as a number, for a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.held[0].sum().item()


class ReadsIntoNumpy(Block):
    """A branch on the data that no tracer sees; the second batch shows it."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x.shape) != 3:
            raise ValueError
        return super().forward(x * (2 if x.detach().numpy()[0, 0, 0] > 0 else 3))


class KeepsANumber(Block):
    """What one model left behind decides what the next one gives."""

    last = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x) + self.last
        self.last = float(self.norm.weight[0])
        return y


class BranchesOnShape(Block):
    """Symbolic tracing cannot compare a size; the operations of a batch can be split."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": super().forward(x if x.shape[0] > 2 else -x)}["logits"]


class Random(Block):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, training=True))


class Counts(Block):
    """A forward that changes a buffer changes the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) + self.calls


class Branches(Block):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class Selects(Block):
    """How many numbers are chosen is up to each model, and Python pads them by that."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x).flatten()
        chosen = y[y > -100]
        return torch.cat([chosen, chosen.new_zeros(len(y) - len(chosen))])


class SelectsByNumbers(Block):
    """As many numbers for every model."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, torch.tensor([2, 0])]


class WritesToInput(Block):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2))


class Tied(Block):
    """The tensor that differs is also used, under another name, at the very start."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm1d(1)
        self.scale = nn.Parameter(torch.ones(1))
        self.first.weight = self.scale

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.first(x))


class Buffered(Block):
    """A buffer that differs, read by the network itself rather than by a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.conv.weight.mean() + self.shift.abs())


def batches(number: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(5, 1, 8, generator=generator) for _ in range(number)]


def change(network: nn.Module, names: Collection[str], seed: int) -> None:
    """Give the varying tensors other values in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in names:
            tensor = network.state_dict()[name]
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)


def prepare(network: nn.Module, names: Collection[str], budget: int = GENEROUS) -> RepeatedForward:
    """Set up the repetition as `Predictor` does, with two models to prove it by."""
    network.eval()
    variants = [partial(change, network, names, seed) for seed in (0, 1)]
    return RepeatedForward(network, batches(), names, variants, budget)


def assert_exact(network: nn.Module, names: Collection[str], forward: RepeatedForward) -> None:
    """Three models in a row, the first again at the end: each gives the whole network's bits."""
    for seed in (2, 3, 2):
        change(network, names, seed)
        for index, inputs in enumerate(batches()):
            with torch.inference_mode():
                expected = network(inputs)
            assert torch.equal(forward(index), expected)


@pytest.mark.parametrize(
    ("kind", "names", "cached"),
    [
        (Block, VARYING, 3),
        (Block, ("norm.running_mean", "norm.running_var"), 3),
        (Block, ("norm.weight", "conv.weight"), 0),
        (WritesToShared, VARYING, 3),
        (WritesUnseen, VARYING, 3),
        (WritesAfterwards, VARYING, 3),
        (ReadsBehindTheTracer, VARYING, 3),
        (ReadsIntoPython, VARYING, 0),
        (ReadsIntoNumpy, VARYING, 0),
        (KeepsANumber, VARYING, 0),
        (Branches, VARYING, 0),
        (Selects, VARYING, 0),
        (SelectsByNumbers, VARYING, 3),
        (BranchesOnShape, VARYING, 3),
        (Random, VARYING, 0),
        (Counts, VARYING, 0),
        (WritesToInput, VARYING, 3),
        (WritesToInput, ("conv.weight", *VARYING), 3),
        (Tied, ("scale", *VARYING), 0),
        (Buffered, ("shift", *VARYING), 3),
    ],
)
def test_repeats_the_network_bit_for_bit(kind: type[Block], names: tuple[str, ...], cached: int) -> None:
    torch.manual_seed(0)
    network = kind()
    forward = prepare(network, names)
    assert forward.cached == cached
    if kind not in (Random, Counts, KeepsANumber):  # which do not even repeat themselves
        assert_exact(network, names, forward)


def test_batches_beyond_the_budget_go_through_the_whole_network() -> None:
    torch.manual_seed(0)
    network = Block()
    one_batch = 5 * 4 * 6 * 4  # samples, channels, length, bytes
    forward = prepare(network, VARYING, budget=2 * one_batch + 1)
    assert forward.cached == 2
    assert_exact(network, VARYING, forward)
    assert prepare(Block(), VARYING, budget=one_batch - 1).cached == 0


def test_an_input_is_never_written_to() -> None:
    torch.manual_seed(0)
    network = WritesToInput().eval()
    mine = batches()
    for budget in (0, GENEROUS):
        forward = RepeatedForward(network, mine, VARYING, [partial(change, network, VARYING, 1)], budget)
        forward(0)
        assert all(torch.equal(ours, fresh) for ours, fresh in zip(mine, batches(), strict=True))


def test_a_resnet18_computes_only_its_last_layers_again() -> None:
    resnet18 = pytest.importorskip("torchvision.models").resnet18
    torch.manual_seed(0)
    network = resnet18(num_classes=10).eval()
    norms = [
        f"layer4.1.bn{i}.{part}" for i in (1, 2) for part in ("weight", "bias", "running_mean", "running_var")
    ]
    inputs = torch.randn(4, 3, 32, 32)
    halves = halve(network, norms, inputs)
    assert halves is not None
    boundary = halves.trunk(inputs)
    with torch.profiler.profile() as profile:
        halves.tail(*boundary)
    again = Counter(event.name for event in profile.events())
    assert again["aten::convolution"] == 1, "of twenty, layer4.1.conv2"
    variants = [partial(change, network, norms, seed) for seed in (0, 1)]
    forward = RepeatedForward(network, [inputs], norms, variants, GENEROUS)
    assert forward.cached == 1
    for seed in (2, 3):
        change(network, norms, seed)
        with torch.inference_mode():
            assert torch.equal(forward(0), network(inputs))


def test_a_network_of_transformers_runs_only_its_last_layer_again(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    network = transformers.BertForSequenceClassification(
        transformers.BertConfig(vocab_size=50, num_labels=3, **sizes)
    ).eval()
    norms = [f"bert.encoder.layer.1.output.LayerNorm.{part}" for part in ("weight", "bias")]
    generator = torch.Generator().manual_seed(1)
    tokens = [torch.randint(50, (n, 12), generator=generator) for n in (6, 6, 4)]
    variants = [partial(change, network, norms, seed) for seed in (0, 1)]
    forward = RepeatedForward(network, tokens, norms, variants, GENEROUS)
    assert forward.cached == 3
    expected = []
    for seed in (2, 3, 2):
        change(network, norms, seed)
        with torch.inference_mode():
            expected.append([network(each).logits for each in tokens])
    attention = network.bert.encoder.layer[0].attention.self
    monkeypatch.setattr(type(attention), "forward", None)  # whatever runs it now fails
    for seed, logits in zip((2, 3, 2), expected, strict=True):
        change(network, norms, seed)
        for index, wanted in enumerate(logits):
            found = forward(index)
            assert type(found).__name__ == "SequenceClassifierOutput"
            assert torch.equal(found.logits, wanted)
