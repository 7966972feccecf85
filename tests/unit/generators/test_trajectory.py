"""The states on the way: where they begin, where they end, and that they are what the sampler passes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pdiff.common.rng import numpy_generator
from pdiff.generation.sample import generate
from pdiff.generators.latent import Latent, trajectory
from pdiff.generators.train import load_generator
from pdiff.training import Run

CONV = ("codec.kind=conv", "codec.train.steps=3", "codec.train.batch_size=4", "denoiser.kind=conv")


def generator(run: Run) -> Latent:
    found = load_generator(run, "cpu")
    assert isinstance(found, Latent)
    return found


@pytest.mark.parametrize("settings", [("default",), ("paper", *CONV)])
def test_it_ends_where_generate_does(
    make_run: Callable[..., Run], tmp_path: Path, settings: tuple[str, ...]
) -> None:
    run = make_run(*settings)
    rows = generate(run, n=131, seed=4, device="cpu", out=tmp_path / "g").rows()
    found = trajectory(generator(run), [1, 5, 130], 4, points=4)
    assert (found.progress[0], found.progress[-1]) == (0, 1)
    last = len(found.progress) - 1
    assert torch.equal(found.rows(last, range(3)), rows[[1, 5, 130]])
    assert torch.equal(found.rows(last, [2]), rows[[130]])
    assert not torch.equal(found.rows(0, range(3)), rows[[1, 5, 130]])


def test_it_begins_with_the_noise_on_the_latents_scale(make_run: Callable[..., Run]) -> None:
    latent = generator(make_run())
    latents = latent.latents
    found = trajectory(latent, [3], 7)
    noise = numpy_generator(7, "sample", 3).standard_normal(latents.values.shape[1], dtype="float32")
    expected = latent.codec.decode(latents.restore(torch.from_numpy(noise)[None]))
    latent.members.normalizer(latent.config.normalize).invert(expected.numpy())
    torch.testing.assert_close(found.rows(0, [0]), expected, rtol=1e-4, atol=1e-5)


def test_points_are_spread_over_the_steps(make_run: Callable[..., Run]) -> None:
    latent = generator(make_run("default", "sampler.steps=10"))
    assert trajectory(latent, [0], 0, points=3).progress == (0, 0.5, 1)
    assert trajectory(latent, [0], 0, points=50).progress == tuple(step / 10 for step in range(11))
    with pytest.raises(ValueError, match="1 points; accepted: 2 or more"):
        trajectory(latent, [0], 0, points=1)
