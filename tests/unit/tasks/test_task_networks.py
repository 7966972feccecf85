import sys

import pytest
import torch

from pdiff.common.errors import UsageError
from pdiff.tasks import load_task
from pdiff.tasks.networks import convnet1d, resnet1d


def numbers(model):
    return sum(t.numel() for t in model.state_dict().values() if t.is_floating_point())


@pytest.mark.parametrize(
    ("task", "arch", "shape", "count"),
    [
        ("mnist1d", "convnet", (40,), 2_618),
        ("mnist1d", "mlp", (40,), 4_810),
        ("mnist1d", "resnet", (40,), 11_994),
        ("digits", "convnet", (1, 8, 8), 3_226),
        ("digits", "mlp", (1, 8, 8), 3_466),
        ("fashion", "convnet", (1, 28, 28), 17_178),
    ],
)
def test_networks_have_their_size_and_give_logits(task, arch, shape, count):
    model = load_task(task).build(arch)
    assert numbers(model) == count
    assert model(torch.zeros(3, *shape)).shape == (3, 10)


def test_resnet18_is_torchvisions_with_one_channel_and_ten_classes():
    torchvision = pytest.importorskip("torchvision")
    model = load_task("fashion").build("resnet18")
    theirs = torchvision.models.resnet18(num_classes=10)
    assert list(model.state_dict()) == list(theirs.state_dict())
    assert numbers(model) == numbers(theirs) - 2 * 64 * 49
    assert model.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_resnet18_without_torchvision_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(UsageError, match=r"pip install 'pdiff-nn\[vision\]'"):
        load_task("fashion").build("resnet18")


@pytest.mark.parametrize("task", ["mnist1d", "digits", "fashion"])
def test_an_unknown_architecture_is_refused_with_a_suggestion(task):
    with pytest.raises(UsageError, match=f"architecture of {task} 'convnit'; did you mean 'convnet'"):
        load_task(task).build("convnit")


def test_odd_lengths_fit_the_heads():
    assert convnet1d(13, width=4, classes=3)(torch.zeros(2, 13)).shape == (2, 3)
    assert resnet1d(13, widths=(4, 4, 6), classes=3)(torch.zeros(2, 13)).shape == (2, 3)
