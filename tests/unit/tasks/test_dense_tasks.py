"""Segmentation, detection and denoising: near chance when untrained, better after a few steps."""

import sys
from typing import NamedTuple

import pytest
import torch

from pdiff.common.errors import UsageError
from pdiff.tasks import denoising, load_task, scenes
from pdiff.tasks.denoising import TIMES, noise_level
from pdiff.tasks.fashion_files import DEBIAN

FEW = {"train": 64, "validation": 8, "test": 16}
SIZES = {
    ("segmentation", "convnet"): 62_380,
    ("segmentation", "fcn"): 2_924_811,
    ("detection", "fcos"): 990_159,
    ("detection", "faster_rcnn"): 1_150_052,
    ("denoising", "unet"): 73_681,
}
real = pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(scenes, "SIZES", FEW)
    monkeypatch.setattr(denoising, "SIZES", FEW)


def built(name, arch):
    if arch not in ("convnet", "unet"):
        pytest.importorskip("torchvision")
    task = load_task(name)
    torch.manual_seed(0)
    return task, task.build(arch)


@torch.inference_mode()
def score(task, network, inputs, targets):
    return task.metric.reduce(task.metric.measure(network.eval()(inputs), targets))


@pytest.mark.parametrize(("name", "arch"), SIZES)
def test_networks_have_their_size(name, arch):
    _, network = built(name, arch)
    assert sum(parameter.numel() for parameter in network.parameters()) == SIZES[name, arch]


class Case(NamedTuple):
    """How long to train a network on a few samples, and what comes of it."""

    name: str
    arch: str
    samples: int
    steps: int
    lr: float
    parts: int
    chance: float
    """What an untrained network does not reach."""
    better: float
    """What the trained one does."""


@real
@pytest.mark.parametrize(
    "case",
    [
        Case("segmentation", "convnet", 8, 24, 1e-2, parts=64, chance=0.1, better=0.15),
        Case("segmentation", "fcn", 4, 8, 2e-3, parts=64, chance=0.1, better=0.1),
        Case("detection", "fcos", 4, 24, 2e-3, parts=3, chance=0.01, better=0.3),
        Case("detection", "faster_rcnn", 4, 24, 2e-3, parts=3, chance=0.01, better=0.1),
        Case("denoising", "unet", 64, 10, 5e-3, parts=49, chance=0.9, better=0.6),
    ],
    ids=lambda case: case.arch,
)
def test_a_few_steps_make_an_untrained_network_better(few, case):
    task, network = built(case.name, case.arch)
    inputs, targets = (part[: case.samples] for part in task.data("train"))
    before = score(task, network, inputs, targets)
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=case.lr)
    losses = []
    for _ in range(case.steps):
        optimizer.zero_grad()
        loss = task.loss(network(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = score(task, network, inputs, targets)
    assert losses[-1] < losses[0]
    if task.higher_is_better:
        assert before < case.chance
        assert after > case.better
    else:
        assert case.chance < before < 1.1
        assert after < case.better
    with torch.inference_mode():
        error = task.error(network(inputs), targets)
    assert error.shape == (case.samples, case.parts)


@real
@pytest.mark.parametrize("name", ["segmentation", "detection", "denoising"])
def test_data_is_the_same_each_time_and_other_data_in_other_splits(few, name):
    first, second = load_task(name), load_task(name)
    for split, n in FEW.items():
        inputs, targets = first.data(split)
        assert len(inputs) == len(targets) == n
        assert torch.equal(inputs, second.data(split)[0])
        assert torch.equal(targets, second.data(split)[1])
    assert not torch.equal(first.data("train")[0][:8], first.data("validation")[0])


@real
def test_noise_and_time_are_what_made_the_noisy_picture(few):
    inputs, noise = load_task("denoising").data("validation")
    times = (inputs[:, 1, 0, 0] * TIMES).round().long()
    kept = noise_level(times)[:, None, None]
    pictures = (inputs[:, 0] - (1 - kept).sqrt() * noise[:, 0]) / kept.sqrt()
    early = kept.flatten() > 0.01  # later ones leave nothing but rounding
    assert early.sum() >= 2
    assert pictures[early].min() > -1.01
    assert pictures[early].max() < 1.01
    assert (pictures[early] < -0.99).float().mean() > 0.2  # a picture's background


def test_the_noise_level_falls_from_a_clear_picture_to_none():
    levels = noise_level(torch.arange(TIMES))
    product = 1.0
    for time in range(TIMES):
        product *= 1 - (1e-4 + (2e-2 - 1e-4) * time / (TIMES - 1))
        assert float(levels[time]) == pytest.approx(product, rel=1e-5)


def test_regions_are_wrong_by_the_share_of_their_pixels():
    task = load_task("segmentation")
    targets = torch.zeros(1, 64, 64, dtype=torch.uint8)
    outputs = torch.zeros(1, 11, 64, 64)
    outputs[:, 0] = 1
    outputs[0, 3, :4, 8:12] = 2  # a quarter of the second region's pixels
    outputs[0, 3, 16:24, :3] = 2  # 24 of 64 of a region in the third row
    error = task.error(outputs, targets)
    assert error[0, 1] == 0.25
    assert error[0, 16] == 24 / 64
    assert (error > task.tolerance).nonzero().tolist() == [[0, 16]]


def test_detections_have_no_loss():
    with pytest.raises(UsageError, match="task detection: the loss needs a network in training mode"):
        load_task("detection").loss(torch.zeros(1, 20, 6), torch.zeros(1, 3, 5))


@pytest.mark.parametrize(("name", "arch"), [("segmentation", "fcn"), ("detection", "fcos")])
def test_without_torchvision_the_extra_is_named(monkeypatch, name, arch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    for module in [module for module in sys.modules if module.startswith("torchvision.")]:
        monkeypatch.delitem(sys.modules, module)
    wanted = rf"{arch} needs torchvision, which is not installed: pip install 'pdiff-nn\[vision\]'"
    with pytest.raises(UsageError, match=wanted):
        load_task(name).build(arch)
