"""Latent diffusion as a generator: in memory or in a folder, the same."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from pdiff.bank import Bank
from pdiff.common import progress
from pdiff.common.config import Config, LatentConfig
from pdiff.common.errors import InputError
from pdiff.common.rng import numpy_generator
from pdiff.generators import fit
from pdiff.generators.base import Context
from pdiff.generators.latent import Latent
from tests.support import MEMBERS, TINY, Said

CONV = ("codec.kind=conv", "codec.train.steps=3", "codec.train.batch_size=4", "denoiser.kind=conv")
TOKEN = ("codec.kind=token", "codec.size=8", "codec.train.steps=3", "codec.train.batch_size=4")
FILES = ["codec.safetensors", "latents.safetensors", "denoiser.safetensors"]


def config_of(preset: str, *settings: str) -> LatentConfig:
    config = Config.build(preset, settings=[*TINY, *settings])
    assert isinstance(config, LatentConfig)
    return config


@pytest.mark.parametrize("settings", [("default",), ("default", *TOKEN), ("paper", *CONV)])
def test_fitted_in_memory_it_gives_the_rows_of_a_run(
    bank: Bank, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    config, members = config_of(*settings), bank.view(range(MEMBERS))
    (tmp_path / "kept").mkdir()
    (tmp_path / "saved").mkdir()
    memory = fit(config, members)
    kept = fit(config, members, Context(folder=tmp_path / "kept"))
    indices = [0, 3, 16, 133]
    rows = memory.rows(indices, 5)
    assert rows.shape == (4, bank.dim)
    assert torch.equal(kept.rows(indices, 5), rows)
    assert memory.save(tmp_path / "saved") == kept.save(tmp_path / "kept") == FILES
    for folder in ("kept", "saved"):
        loaded = Latent.load(config, members, tmp_path / folder, Context())
        assert torch.equal(loaded.rows(indices, 5), rows)
        assert loaded.facts() == pytest.approx(dict(memory.facts()))
    assert list(memory.seconds) == ["codec", "denoiser"]
    assert not torch.equal(memory.rows(indices, 6), rows)
    assert memory.rows([], 5).shape == (0, bank.dim)


@pytest.mark.parametrize("settings", [("default",), ("default", *TOKEN), ("paper", *CONV)])
def test_rows_are_the_slow_way_from_noise(bank: Bank, settings: tuple[str, ...]) -> None:
    """One model at a time, each step's noise drawn by itself."""
    config, members = config_of(*settings), bank.view(range(MEMBERS))
    latent = fit(config, members)
    assert isinstance(latent, Latent)
    normalizer = members.normalizer(config.normalize)
    indices = [0, 5, 131]
    for index, row in zip(indices, latent.rows(indices, 3), strict=True):
        generator = numpy_generator(3, "sample", index)

        def noise(generator: np.random.Generator = generator) -> torch.Tensor:
            dim = latent.latents.values.shape[1]
            return torch.from_numpy(generator.standard_normal(dim, dtype="float32"))[None]

        with torch.no_grad():
            states = list(latent.process.states(latent.denoiser, config.sampler, noise))
            expected = latent.codec.decode(latent.latents.restore(states[-1]))
        normalizer.invert(expected.numpy())
        torch.testing.assert_close(row, expected[0], rtol=1e-4, atol=1e-5)


def test_a_gpu_draws_what_is_asked_for_unless_it_has_to_be_reproduced(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent = fit(config_of("default"), bank.view(range(MEMBERS)))
    assert isinstance(latent, Latent)
    assert latent.together([3, 130]) == [range(128), range(128, 256)]
    monkeypatch.setattr(latent, "device", torch.device("cuda"))
    assert latent.together([3, 130]) == [range(3, 131)]
    assert latent.together([]) == []
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert latent.together([3, 130]) == [range(128), range(128, 256)]


def test_a_finished_stage_is_not_done_again(bank: Bank, tmp_path: Path) -> None:
    config, members = config_of("paper", *CONV), bank.view(range(MEMBERS))
    first = fit(config, members, Context(folder=tmp_path))
    stamps = [(tmp_path / file).stat().st_mtime_ns for file in FILES]
    again = fit(config, members, Context(folder=tmp_path))
    assert [(tmp_path / file).stat().st_mtime_ns for file in FILES] == stamps
    assert again.seconds == pytest.approx(first.seconds, abs=1e-3)
    assert torch.equal(again.rows([1], 0), first.rows([1], 0))


def test_weights_of_another_configuration_are_refused(bank: Bank, tmp_path: Path) -> None:
    config, members = config_of("default"), bank.view(range(MEMBERS))
    fit(config, members, Context(folder=tmp_path))
    with pytest.raises(InputError, match="denoiser.safetensors: not of this run's configuration"):
        Latent.load(config_of("default", "denoiser.width=8"), members, tmp_path, Context())


def test_slow_drawing_is_said_to_be_slow_before_the_first_model(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of("default", "sampler.steps=50")
    slow = fit(config, bank.view(range(MEMBERS)))
    seconds = count(0, 10)
    monkeypatch.setattr(progress, "monotonic", lambda: next(seconds))
    slow.progress = said = Said()
    for index in (0, 1, 128):
        slow.rows([index], seed=0)
    assert said[0] == "Drawing 128 models: about 480 s for the 48 steps left"
    assert len(said) == 1, "once, of the first block"
