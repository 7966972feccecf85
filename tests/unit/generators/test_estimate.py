"""Plans: what a fit takes is known before it begins, and one that has no room is refused."""

from pathlib import Path

import pytest
import torch

from pdiff.bank import Bank
from pdiff.codecs import build_codec
from pdiff.codecs.conv import ConvAutoencoder
from pdiff.codecs.token import TokenCodec
from pdiff.common.config import Config, LatentConfig
from pdiff.common.errors import UsageError
from pdiff.diffusion.denoisers import ConvDenoiser
from pdiff.generators import estimate
from pdiff.generators.train import train


def latent(*settings: str) -> LatentConfig:
    config = Config.build("paper", settings=settings)
    assert isinstance(config, LatentConfig)
    return config


def test_a_plan_knows_sizes_and_multiplications(bank: Bank) -> None:
    codec, denoiser = estimate.plan(latent(), bank.view(range(len(bank))))
    size = sum(p.numel() for p in ConvAutoencoder(bank.dim, 128).parameters())
    assert (codec.name, codec.steps, codec.parameters, codec.disk) == ("codec", 500, size, 4 * size)
    assert codec.memory > 16 * size + 4 * bank.dim * 50
    size = sum(p.numel() for p in ConvDenoiser(128, 1000).parameters())
    assert (denoiser.parameters, denoiser.memory) == (size, 16 * size)
    inner = 128 * 7 * sum(a * b for a, b in ((1, 64), (64, 128), (128, 256), (256, 512))) * 2
    assert denoiser.work() > 3 * 1000 * 50 * inner


def test_principal_components_need_the_gram_matrix_alone(bank: Bank) -> None:
    codec, _ = estimate.plan(latent("codec.kind=pca"), bank.view(range(len(bank))))
    assert (codec.steps, codec.parameters, codec.work()) == (0, 0, len(bank) ** 2 * bank.dim)


def test_a_token_codec_is_planned_by_its_windows(bank: Bank) -> None:
    config = latent("codec.kind=token", "codec.size=8", "codec.window=2")
    members = bank.view(range(len(bank)))
    codec, denoiser = estimate.plan(config, members)
    built = build_codec(config.codec, members, "tensor", 0, torch.device("cpu"))
    assert isinstance(built, TokenCodec)
    network = built.network
    assert codec.parameters == sum(p.numel() for p in network.parameters())
    layer = 12 * 64 * 64  # attention and feed-forward of width 64
    tokens = 32 * network.length
    assert 3 * 1000 * tokens * 4 * layer < codec.work() < 3 * 1000 * tokens * 6 * layer
    assert denoiser.parameters == sum(p.numel() for p in ConvDenoiser(built.latent_dim, 1000).parameters())


def test_what_has_no_room_is_refused_before_it_begins(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "available", lambda _: 10**6)
    with pytest.raises(UsageError, match=r"the codec takes some \d+ MB and 1 MB are free; a"):
        train(bank, out=tmp_path / "run", config=latent())
    assert not (tmp_path / "run").exists()


def test_the_system_says_what_is_free() -> None:
    free = estimate.available(torch.device("cpu"))
    assert free is not None
    assert 10**7 < free < 10**15
