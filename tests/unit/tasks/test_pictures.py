import pickle
import sys
import types

import numpy as np
import pytest
import torch

from pdiff.common.errors import InputError, UsageError
from pdiff.tasks import SplitData, load_task
from pdiff.tasks.datasets import SOURCES
from pdiff.tasks.registry import PICTURES
from tests import pictures

pytest.importorskip("torchvision")

TEST = {"flowers102": 4}
"""Images for tests of what is written, where they are not all."""
TRAIN = {"flowers102": 8, "cifar10": 60}


@pytest.fixture(params=PICTURES)
def written(request, tmp_path):
    pictures.write(request.param, tmp_path)
    return request.param, tmp_path


def test_every_layout_is_read(written):
    name, root = written
    task = load_task(name, data_root=root, size=24)
    splits = [SplitData(task, split) for split in ("train", "validation", "test")]
    assert len(splits[0]) + len(splits[1]) == TRAIN.get(name, pictures.SAMPLES)
    assert len(splits[1]) == max(1, round(0.1 * TRAIN.get(name, pictures.SAMPLES)))
    assert len(splits[2]) == TEST.get(name, pictures.SAMPLES)
    for split in splits:
        inputs, targets = next(split.batches(100))
        assert inputs.shape[1:] == (SOURCES[name].channels, 24, 24)
        assert inputs.dtype == torch.float32
        assert 0.2 < inputs.std() < 2
        assert targets.min() >= 0
        assert targets.max() <= 2


def test_images_and_classes_belong_together(tmp_path):
    pictures.write("stl10", tmp_path)
    task = load_task("stl10", data_root=tmp_path, size=96)
    raw = np.fromfile(tmp_path / "stl10_binary" / "test_X.bin", dtype=np.uint8).reshape(-1, 3, 96, 96)
    image, label = task.data("test")[5]
    scaled = torch.from_numpy(raw[5].transpose(0, 2, 1).astype(np.float32) / 255)  # stored by column
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(image, (scaled - mean) / std)
    assert label == 5 % 3


def test_cifar_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100

    pictures.write("cifar100", tmp_path)
    monkeypatch.setattr(CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr(CIFAR100, "_load_meta", lambda self: None)
    theirs = CIFAR100(tmp_path, train=False)
    ours = SOURCES["cifar100"].read(tmp_path, "test")
    np.testing.assert_array_equal(ours.images, theirs.data)
    np.testing.assert_array_equal(ours.labels, theirs.targets)


def test_splits_do_not_share_samples_and_stay_the_same(tmp_path):
    pictures.write("cifar10", tmp_path)
    rows = []
    for _ in range(2):
        task = load_task("cifar10", data_root=tmp_path, size=32)
        splits = [task.data(split) for split in ("train", "validation")]
        rows.append([{image.numpy().tobytes() for image, _ in split} for split in splits])
    assert rows[0] == rows[1]
    assert not rows[0][0] & rows[0][1]
    assert len(rows[0][0] | rows[0][1]) == 60


def test_photographs_keep_their_shape_and_lose_their_margin(tmp_path):
    pictures.write("pets", tmp_path)
    found = load_task("pets", data_root=tmp_path, size=32).data("test")[0][0]
    assert found.shape == (3, 32, 32)


def test_a_data_set_that_is_not_there_is_named(tmp_path):
    for name in PICTURES:
        with pytest.raises(InputError, match="--data-root") as caught:
            load_task(name, data_root=tmp_path).data("train")
        assert str(tmp_path) in str(caught.value)
        assert ("--download" in str(caught.value)) == (name != "imagenet")


def test_a_batch_of_cifar_runs_no_code(tmp_path, monkeypatch):
    ran = []
    module = types.ModuleType("canary")
    module.sing = lambda: ran.append(1)
    monkeypatch.setitem(sys.modules, "canary", module)
    module.sing.__module__, module.sing.__qualname__, module.sing.__name__ = "canary", "sing", "sing"

    class Bomb:
        def __reduce__(self):
            return module.sing, ()

    pictures.write("cifar100", tmp_path)
    (tmp_path / "cifar-100-python" / "train").write_bytes(pickle.dumps({"data": Bomb()}))
    with pytest.raises(InputError, match=r"names canary\.sing, which is no array"):
        load_task("cifar100", data_root=tmp_path).data("train")
    assert not ran


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1]), pickle.dumps({"data": 3})])
def test_a_damaged_batch_of_cifar_is_named(tmp_path, content):
    pictures.write("cifar10", tmp_path)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    with pytest.raises(InputError, match="test_batch: not a batch of CIFAR"):
        load_task("cifar10", data_root=tmp_path).data("test")


def test_a_damaged_image_is_named(tmp_path):
    pictures.write("food101", tmp_path)
    (tmp_path / "food-101" / "images" / "dish_0" / "test0.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="test0.jpg: not an image"):
        load_task("food101", data_root=tmp_path).data("test")[0]


def test_labels_of_another_number_are_refused(tmp_path):
    pictures.write("stl10", tmp_path)
    path = tmp_path / "stl10_binary" / "test_y.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="12 images and 11 labels"):
        load_task("stl10", data_root=tmp_path).data("test")


def test_networks_and_sizes_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="size is 0"):
        load_task("cifar10", size=0)
    with pytest.raises(UsageError, match="unknown architecture of cifar10 'resnet19'; did you mean"):
        load_task("cifar10").build("resnet19")
    assert load_task("mnist").architectures == ("cnn",)


@pytest.mark.parametrize(("name", "numbers"), [("mnist", 2_464), ("svhn", 2_864)])
def test_the_three_layer_network_has_the_published_size(name, numbers):
    model = load_task(name).build("cnn")
    assert sum(parameter.numel() for parameter in model.parameters()) == numbers
    assert model(torch.zeros(2, SOURCES[name].channels, 28, 28)).shape == (2, 10)
