import numpy as np
import pytest
import torch

from pdiff.common.rng import numpy_generator
from pdiff.tasks.digits import Digits, stratified_order


@pytest.mark.parametrize(("split", "n"), [("train", 1_097), ("validation", 200), ("test", 500)])
def test_splits_are_stratified(split, n):
    inputs, labels = Digits().data(split)
    assert inputs.shape == (n, 1, 8, 8)
    assert inputs.dtype == torch.float32
    assert (inputs.min(), inputs.max()) == (-1, 1)
    whole = torch.cat([Digits().data(name)[1] for name in ("train", "validation", "test")]).bincount()
    expected = whole * n / 1_797
    assert (labels.bincount() - expected).abs().max() < 2


def test_splits_are_a_partition_of_the_1797_scans():
    rows = [
        row.tobytes() for name in ("train", "validation", "test") for row in Digits().data(name)[0].numpy()
    ]
    assert len(rows) == 1_797
    assert len(set(rows)) == 1_797  # the set holds no scan twice


def test_first_scan_is_the_published_zero():
    """The first row of the first scan, 0 0 5 13 9 1 0 0, is printed in scikit-learn's documentation."""
    inputs = torch.cat([Digits().data(name)[0] for name in ("train", "validation", "test")])
    labels = torch.cat([Digits().data(name)[1] for name in ("train", "validation", "test")])
    scans = ((inputs + 1) * 8).round().int()[:, 0]
    row = torch.tensor([0, 0, 5, 13, 9, 1, 0, 0], dtype=torch.int32)
    next_row = torch.tensor([0, 0, 13, 15, 10, 15, 5, 0], dtype=torch.int32)
    found = ((scans[:, 0] == row) & (scans[:, 1] == next_row)).all(dim=1).nonzero().flatten()
    assert labels[found].tolist() == [0]


def test_stratified_order_spreads_every_class():
    labels = np.array([0] * 90 + [1] * 10, dtype=np.uint8)
    order = stratified_order(labels, numpy_generator(0, "order"))
    assert sorted(order) == list(range(100))
    assert [int(labels[order[a : a + 10]].sum()) for a in range(0, 100, 10)] == [1] * 10
