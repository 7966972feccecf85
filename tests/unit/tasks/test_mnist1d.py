"""MNIST-1D against a slow per-sample reference that follows the published recipe step by step."""

import hashlib

import numpy as np
import pytest
import torch
from scipy.interpolate import interp1d
from scipy.ndimage import gaussian_filter1d

from pdiff.common.rng import numpy_generator
from pdiff.tasks import load_task
from pdiff.tasks.mnist1d import Draws, Mnist1D, distort, draw, templates


def interpolate(x, length):
    return interp1d(np.linspace(0, 1, len(x)), x)(np.linspace(0, 1, length))


def slow_sample(template, draws: Draws, i: int):
    x = np.concatenate([template, np.zeros(draws.padding[i])])
    x = interpolate(x, 72)
    x = x * (1 + 0.4 * (draws.scale[i] - 0.5))
    x = np.roll(x, draws.translation[i])
    background = gaussian_filter1d(0.25 * draws.correlated[i], sigma=2, mode="reflect")
    x = np.array([b if value == 0 else value for value, b in zip(x, background, strict=True)])
    x = x + 2e-2 * draws.white[i]
    x = x - 0.75 * (draws.shear[i] - 0.5) * np.linspace(-0.5, 0.5, 72)
    return interpolate(x, 40)


def test_vectorised_code_equals_the_slow_reference():
    draws = draw(numpy_generator(7, "test"), 300)
    signals = templates()[np.arange(300) % 10]
    slow = np.stack([slow_sample(signals[i], draws, i) for i in range(300)])
    np.testing.assert_allclose(distort(signals, draws), slow, rtol=0, atol=1e-12)


def test_draws_cover_their_ranges_and_nothing_else():
    draws = draw(numpy_generator(0, "ranges"), 5_000)
    assert set(draws.padding) == set(range(36, 61))
    assert set(draws.translation) == set(range(48))
    assert draws.scale.min() >= 0
    assert draws.scale.max() < 1


def test_templates_are_standardised_up_to_the_shift_and_never_zero():
    shapes = templates()
    assert shapes.shape == (10, 12)
    np.testing.assert_allclose(shapes[:, 0], 1e-8)
    np.testing.assert_allclose(shapes.std(axis=1), 1 / 6)
    assert (shapes != 0).all()


@pytest.mark.parametrize(("split", "n"), [("train", 16_000), ("validation", 4_000), ("test", 10_000)])
def test_splits_have_their_sizes_and_balanced_classes(split, n):
    inputs, labels = Mnist1D().data(split)
    assert inputs.shape == (n, 40)
    assert inputs.dtype == torch.float32
    assert labels.bincount().tolist() == [n // 10] * 10


def test_splits_are_disjoint():
    rows = [
        row.tobytes() for split in ("train", "validation", "test") for row in Mnist1D().data(split)[0].numpy()
    ]
    assert len(set(rows)) == 30_000


def test_data_never_changes():
    """Rounded, so that a last bit that differs between machines does not matter."""
    digest = hashlib.blake2b(digest_size=8)
    for split in ("train", "validation", "test"):
        digest.update(np.round(Mnist1D().data(split)[0].numpy() * 1e3).astype("<i2").tobytes())
    assert digest.hexdigest() == "23c3c061a67c55ee"


def test_data_is_generated_once_and_shared():
    assert load_task("mnist1d").data("test")[0] is load_task("mnist1d").data("test")[0]
