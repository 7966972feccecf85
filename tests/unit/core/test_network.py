"""Small networks: what is refused, and that arrays are read anew."""

from typing import Any

import numpy as np
import pytest

from pdiff._core import FoldedModel, SmallNetwork

BLOCK = SmallNetwork.SAMPLES


def linear(weight: Any, **options: Any) -> tuple[SmallNetwork, int]:
    """A product of two inputs, and the row of its first output."""
    network = SmallNetwork()
    network.room(2)
    logits = network.room(2)
    given = {
        "rows": 2,
        "before": 0,
        "stride": 0,
        "places": 1,
        "bias": None,
        "norm": None,
        "relu": False,
    } | options
    network.product(0, logits, weight=weight, **given)
    return network, logits


def margins(network: SmallNetwork, models: list[FoldedModel], **options: Any) -> np.ndarray[Any, Any]:
    given = {
        "inputs": np.ones((1, 2, BLOCK), np.float32),
        "targets": np.zeros(3, np.int64),
        "out": np.empty((len(models), 3), np.float32),
        "logits": 2,
        "classes": 2,
        "threads": 1,
    } | options
    network.margins(models, **given)
    return given["out"]


def test_a_fold_reads_the_arrays_as_they_are() -> None:
    weight, bias = np.zeros((2, 2, 1), np.float32), np.array([1, 0], np.float32)
    network, _ = linear(weight, bias=bias)
    before = network.fold()
    weight[0], bias[1] = 3, -2
    after = network.fold()
    assert margins(network, [before, after, before]).tolist() == [[1] * 3, [9] * 3, [1] * 3]


def test_a_norm_follows_the_product() -> None:
    mean, variance, scale = (np.array(numbers, np.float32) for numbers in ([1, 2], [3, 15], [4, 6]))
    network, _ = linear(np.ones((2, 2, 1), np.float32), norm=(mean, variance, scale, None, 1.0))
    assert margins(network, [network.fold()]).tolist() == [[2.0] * 3]
    network, _ = linear(np.ones((2, 2, 1), np.float32), norm=(mean, variance, None, scale, 1.0))
    assert margins(network, [network.fold()]).tolist() == [[4.5 - 6.0] * 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": np.zeros((2, 2), np.float32)}, "weight has shape [2, 2]; accepted: three axes"),
        ({"weight": np.zeros((2, 2, 1))}, 'weight has elements of format "d"; accepted: aligned f32'),
        ({"bias": np.zeros(3, np.float32)}, "bias has 3 numbers; accepted: 2"),
        ({"places": 2}, "rows 2 to 6; accepted: up to 4"),
        ({"rows": 5}, "rows 0 to 5; accepted: up to 4"),
    ],
)
def test_a_product_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        linear(**{"weight": np.zeros((2, 2, 1), np.float32)} | options)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": np.empty((2, 3), np.float32)}, "out has shape [2, 3]; accepted: [1, 3]"),
        (
            {"inputs": np.ones((2, 2, BLOCK), np.float32)},
            f"2 blocks of {BLOCK} inputs; accepted: 1 of {BLOCK} for 3 targets",
        ),
        (
            {"inputs": np.ones((1, 2, 5), np.float32)},
            f"1 blocks of 5 inputs; accepted: 1 of {BLOCK} for 3 targets",
        ),
        ({"logits": 3}, "rows 3 to 5; accepted: up to 4"),
        ({"inputs": np.ones((1, 9, BLOCK), np.float32)}, "rows 0 to 9; accepted: up to 4"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(options: dict[str, Any], message: str) -> None:
    network, _ = linear(np.zeros((2, 2, 1), np.float32))
    with pytest.raises(ValueError) as raised:
        margins(network, [network.fold()], **options)
    assert str(raised.value) == message


def test_a_model_of_another_network_is_refused() -> None:
    network, _ = linear(np.zeros((2, 2, 1), np.float32))
    with pytest.raises(ValueError, match="a model of another network; accepted: what fold\\(\\) returned"):
        margins(network, [SmallNetwork().fold()])
