import pytest
import torch
from torch import nn

from pdiff.common.errors import UsageError
from pdiff.tasks import load_task
from pdiff.training.frozen import FrozenRest
from pdiff.zoo import select_subset


@pytest.fixture
def model(task):
    return task.build("batchnorm")


def test_last_norms_are_the_last_two_by_registration(model):
    assert select_subset(model, "last-norms") == ["4.weight", "4.bias", "7.weight", "7.bias"]
    assert select_subset(model, "last-norms:1") == ["7.weight", "7.bias"]


def test_last_norms_find_other_kinds_of_normalisation(task):
    assert select_subset(task.build("layernorm"), "last-norms:1") == ["7.weight", "7.bias"]
    grouped = nn.Sequential(nn.GroupNorm(2, 4), nn.RMSNorm(4), nn.LayerNorm(4, elementwise_affine=False))
    assert select_subset(grouped, "last-norms") == ["0.weight", "0.bias", "1.weight"]


def test_resnet18_gives_the_papers_2048_numbers():
    pytest.importorskip("torchvision")
    model = load_task("fashion").build("resnet18")
    names = select_subset(model, "last-norms")
    assert names == [f"layer4.1.bn{i}.{part}" for i in (1, 2) for part in ("weight", "bias")]
    assert sum(model.state_dict()[name].numel() for name in names) == 2_048


def test_all_is_every_floating_tensor(model):
    names = select_subset(model, "all")
    assert names == [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]


def test_globs_select_floating_tensors_only(model):
    assert select_subset(model, "7.*") == ["7.weight", "7.bias", "7.running_mean", "7.running_var"]


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("norms:1-2", ["1.weight", "1.bias", "4.weight", "4.bias"]),
        ("norms:2", ["4.weight", "4.bias"]),
        ("linears:2-3", ["3.weight", "3.bias", "6.weight", "6.bias"]),
        ("last-linears", ["9.weight", "9.bias"]),
        ("last-linears:2", ["6.weight", "6.bias", "9.weight", "9.bias"]),
        ("head", ["9.weight", "9.bias"]),
    ],
)
def test_layers_are_counted_from_1_by_registration(model, spec, names):
    assert select_subset(model, spec) == names


def test_convolutions_and_adapters_are_found():
    network = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Conv2d(2, 3, 3, bias=False))
    assert select_subset(network, "last-convs") == ["1.weight"]
    assert select_subset(network, "convs:1") == ["0.weight", "0.bias"]
    network.register_parameter("lora_A", nn.Parameter(torch.zeros(2, 2)))
    assert select_subset(network, "lora") == ["lora_A"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("norms:0", "has 3 normalisation layers"),
        ("norms:2-4", "has 3 normalisation layers"),
        ("norms:3-2", "has 3 normalisation layers"),
        ("norms:1-2-3", "has 3 normalisation layers"),
        ("linears:one", "has 4 linear layers"),
        ("convs:1", "has no convolutional layer"),
        ("last-norms:0", "has 3 normalisation layers"),
        ("last-norms:4", "has 3 normalisation layers"),
        ("last-norms:two", "has 3 normalisation layers"),
        ("last-norms:", "has 3 normalisation layers"),
        ("9.weigth", "matches no floating tensor; names are like 9.weight"),
        ("*.num_batches_tracked", "matches no floating tensor"),
        ("*.running_*", "no parameter that can be trained"),
    ],
)
def test_subsets_that_cannot_work_are_refused(model, spec, message):
    with pytest.raises(UsageError, match=message):
        select_subset(model, spec)


def test_a_network_without_norms_is_told_so():
    with pytest.raises(UsageError, match="has no normalisation layer"):
        select_subset(nn.Linear(2, 2), "last-norms")


def test_batchnorm_trains_only_where_its_statistics_are_chosen(model):
    rest = FrozenRest(model, select_subset(model, "7.*"), whole=False)
    rest.train()
    assert [model[i].training for i in (1, 4, 7)] == [False, False, True]
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(torch.randn(16, 8))
    rest.restore()
    moved = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])}
    assert moved == {"7.running_mean", "7.running_var"}
