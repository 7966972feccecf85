"""Splits: the same batches whatever a task gives them as, shuffled as zoos have always been."""

from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from pdiff.common.errors import UsageError
from pdiff.common.torch_rng import torch_generator
from pdiff.tasks import Classification, SplitData
from pdiff.tasks.data import count, digest_of, moved, tensors_in
from pdiff.zoo.augment import flip_and_shift

N = 23


class Samples(Dataset):
    def __init__(self, inputs, targets):
        self.inputs, self.targets = inputs, targets

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return {"x": self.inputs[index]}, self.targets[index]


class Endless:
    """Batches of a task's own."""

    def __init__(self, inputs, targets):
        self.inputs, self.targets = inputs, targets

    def __iter__(self):
        pairs = zip(self.inputs.split(6), self.targets.split(6), strict=True)
        return (({"x": x}, y) for x, y in pairs)


class Kind(Classification):
    name = "kind"

    def __init__(self, make=lambda inputs, targets: (inputs, targets)):
        self.make = make

    def build(self, arch):
        return torch.nn.Linear(3, 2)

    def data(self, split):
        inputs = torch.randn(N, 3, generator=torch.Generator().manual_seed(len(split)))
        return self.make(inputs, torch.arange(N) % 2)


def joined(batches):
    inputs, targets = zip(*batches, strict=True)
    return torch.cat([each["x"] if isinstance(each, dict) else each for each in inputs]), torch.cat(targets)


@pytest.mark.parametrize("make", [lambda x, y: (x, y), Samples, Endless, lambda x, y: list(Endless(x, y))])
def test_every_kind_gives_all_samples_in_order(make):
    data, (inputs, targets) = SplitData(Kind(make), "test"), Kind().data("test")
    for size in (4, 6, 100):
        x, y = joined(data.batches(size))
        assert torch.equal(x, inputs)
        assert torch.equal(y, targets)
    assert len(data) == N
    assert (data.tensors is not None) == isinstance(Kind(make).data("test"), tuple)
    assert data.digest() == SplitData(Kind(make), "test").digest()
    assert data.digest() != SplitData(Kind(make), "train").digest()


@pytest.mark.parametrize(("make", "expected"), [(lambda x, y: (x, y), 10), (Samples, 10), (Endless, 12)])
def test_the_first_samples_are_taken_an_iterables_in_whole_batches(make, expected):
    data = SplitData(Kind(make), "test", limit=10)
    assert len(data) == expected
    assert torch.equal(joined(data.batches(4))[0], Kind().data("test")[0][:expected])
    assert len(SplitData(Kind(make), "test", limit=1000)) == N


def old_batches(task, batch_size, *, seed, purpose):
    """The reference: how batches of zoos were drawn before there was anything but tensors."""
    inputs, targets = task.data("train")
    n = len(inputs)
    size = min(batch_size, n)
    epoch = 0
    while True:
        generator = torch_generator(seed, purpose, epoch)
        order = torch.randperm(n, generator=generator)
        for chosen in order[: n - n % size].view(-1, size):
            yield inputs[chosen] + torch.rand(1, generator=generator), targets[chosen]
        epoch += 1


@pytest.mark.parametrize("make", [lambda x, y: (x, y), Samples])
@pytest.mark.parametrize("size", [1, 5, 23, 50])
def test_shuffled_batches_are_those_of_before(make, size):
    def vary(inputs, generator):
        added = torch.rand(1, generator=generator)
        return {"x": inputs["x"] + added} if isinstance(inputs, dict) else inputs + added

    found = SplitData(Kind(make), "train").shuffled(size, seed=3, purpose="p", vary=vary)
    expected = old_batches(Kind(), size, seed=3, purpose="p")
    for ours, theirs in zip(islice(found, 30), islice(expected, 30), strict=True):
        (x, y), (old_x, old_y) = joined([ours]), joined([theirs])
        assert torch.equal(x, old_x)
        assert torch.equal(y, old_y)


def test_an_iterable_shuffles_itself():
    found = islice(SplitData(Kind(Endless), "train").shuffled(100, seed=0, purpose="p"), 8)
    assert torch.equal(joined(found)[0], torch.cat([Kind().data("train")[0]] * 2))


def test_collate_makes_the_batches():
    class Padded(Kind):
        def collate(self, samples):
            return [x for x, _ in samples], torch.stack([y for _, y in samples])

    inputs, targets = next(SplitData(Padded(Samples), "test").batches(4))
    assert isinstance(inputs, list)
    assert [len(inputs), len(targets)] == [4, 4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: (x, y[1:]), r"task kind: 23 inputs, 22 targets \(test\)"),
        (lambda x, y: iter(Endless(x, y)), r"task kind: data\('test'\) is an iterator, which can be read"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        SplitData(Kind(make), "test")


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (
            lambda split: {"train": 0}[split],
            r"data\('test'\): KeyError: 'test' \(.*test_data.py:\d+\); a split that",
        ),
        (
            lambda split: Path(f"/nowhere/{split}.npz").read_bytes(),
            r"task kind: data\('test'\): FileNotFoundError: .*test.npz",
        ),
        (lambda split: None, r"returned a NoneType; accepted: two tensors or NumPy arrays, a dataset"),
        (lambda split: torch.ones(3), r"data\('test'\) returned a Tensor; accepted"),
        (
            lambda split: [torch.ones(3), torch.ones(3)],
            r"returned a list of Tensor and Tensor; a tuple of two",
        ),
        (
            lambda split: (torch.ones(3), [1, 2, 3]),
            r"returned a tuple of Tensor and list; a tuple of two tensors",
        ),
    ],
)
def test_data_that_is_none_is_refused_by_task_and_split(give, message):
    task = Kind()
    task.data = give
    with pytest.raises(UsageError, match=message):
        SplitData(task, "test")


def test_arrays_become_tensors_that_networks_take():
    inputs, targets = np.ones((N, 3)), np.arange(N, dtype=np.uint8)
    inputs.flags.writeable = False
    found = SplitData(Kind(lambda x, y: (inputs, targets)), "test").tensors
    assert [part.dtype for part in found] == [torch.float32, torch.int64]
    assert found[1].tolist() == list(range(N))


@pytest.mark.parametrize(
    ("make", "found"), [(lambda x, y: [x, x, x], "a Tensor"), (lambda x, y: [(x, y, y)], "3 parts")]
)
def test_batches_that_are_no_pairs_are_refused(make, found):
    with pytest.raises(UsageError, match=rf"data\('test'\) gave {found}; pairs \(input, target\) are wanted"):
        list(SplitData(Kind(make), "test").batches(4))


def test_a_split_without_samples_is_not_trained_on():
    data = SplitData(Kind(lambda x, y: (x[:0], y[:0])), "train")
    with pytest.raises(UsageError, match="task kind: the train split has no samples"):
        next(data.shuffled(4, seed=0, purpose="p"))


class Both(NamedTuple):
    one: torch.Tensor
    other: list


def test_nested_values_move_whole():
    value = {"a": Both(torch.ones(2), [torch.zeros(3), "text"]), "b": (torch.ones(1), None)}
    found = moved(value, torch.device("cpu"), copy=True)
    assert isinstance(found["a"], Both)
    assert found["a"].other[1] == "text"
    assert found["b"][1] is None
    ours, theirs = tensors_in(value), tensors_in(found)
    assert [tensor.shape for tensor in theirs] == [(2,), (3,), (1,)]
    assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in zip(ours, theirs, strict=True))
    assert count({"boxes": torch.ones(4, 2), "n": 1}) == count([1, 2, 3, 4]) == 4
    assert digest_of([torch.ones(2)]) != digest_of([torch.ones(1, 2)]) != digest_of([torch.ones(2).double()])


META = torch.device("meta")  # a device without numbers


@pytest.mark.parametrize("kind", ["tensors", "dataset", "batches"])
def test_batches_come_on_the_device(kind):
    def given(inputs, targets):
        pictures = torch.zeros(N, 1, 6, 6)
        if kind == "tensors":
            return pictures, targets
        return TensorDataset(pictures, targets) if kind == "dataset" else [(pictures[:5], targets[:5])] * 4

    split = SplitData(Kind(given), "train", device=META)
    shuffled = split.shuffled(5, seed=0, purpose="test", vary=flip_and_shift)
    found = [*islice(split.batches(5), 4), *islice(shuffled, 3)]
    assert [(batch.device, labels.device) for batch, labels in found] == [(META, META)] * 7
    assert {(batch.shape, labels.shape) for batch, labels in found} == {((5, 1, 6, 6), (5,))}


@pytest.mark.parametrize("fits", [True, False])
def test_data_stays_where_it_is_if_a_gpu_has_no_room(monkeypatch, fits):
    size = N * (3 * 4 + 8)
    free, moves = 2 * size - (0 if fits else 1), []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: moves.append(device) or tensor)
    gpu = torch.device("cuda", 3)
    SplitData(Kind(), "train", device=gpu)
    assert moves == ([gpu] * 2 if fits else [])
