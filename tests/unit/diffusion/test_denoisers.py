"""Denoisers: their sizes, that they learn what they are asked for, that a sample does not see another."""

import pytest
import torch
from torch import nn

from pdiff.common.config import (
    DiffusionConfig,
    MlpDenoiserConfig,
    SamplerConfig,
    TransformerDenoiserConfig,
)
from pdiff.common.torch_rng import Normals, Random
from pdiff.diffusion import Process, build_denoiser
from pdiff.diffusion.denoisers import ConvDenoiser, MlpDenoiser, Network, sinusoidal_embedding
from pdiff.diffusion.samplers import last

CPU = torch.device("cpu")
TRANSFORMER = TransformerDenoiserConfig(token=5, width=32, depth=2)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def three(dim: int, conditions: int = 0) -> list[Network]:
    torch.manual_seed(0)
    return [
        ConvDenoiser(dim, 1000, conditions),
        MlpDenoiser(dim, 32, 2, conditions),
        build_denoiser(TRANSFORMER, dim, 1000, conditions),
    ]


def test_the_papers_denoiser_has_its_published_size() -> None:
    assert parameters(ConvDenoiser(128, 1000)) == 2_462_977


@pytest.mark.parametrize("denoiser", three(16), ids=["conv", "mlp", "transformer"])
def test_in_eval_mode_a_prediction_depends_on_its_own_sample_alone(denoiser: nn.Module) -> None:
    denoiser.eval()
    latents, time = torch.randn(4, 16), torch.rand(4)
    together = denoiser(latents, time)
    alone = denoiser(latents[1:2], time[1:2])
    assert together.shape == (4, 16)
    assert torch.allclose(together[1:2], alone, atol=1e-6)


@pytest.mark.parametrize("denoiser", three(16, conditions=3), ids=["conv", "mlp", "transformer"])
def test_a_condition_that_is_not_given_is_as_none(denoiser: nn.Module) -> None:
    denoiser.eval()
    for parameter in denoiser.parameters():  # some last layers begin as zeros
        nn.init.normal_(parameter, std=0.1)
    latents, time, condition = torch.randn(4, 16), torch.rand(4), torch.randn(4, 3)
    given = torch.tensor([True, False, True, False])
    mixed = denoiser(latents, time, condition, given)
    assert torch.allclose(mixed[given], denoiser(latents, time, condition)[given], atol=1e-5)
    assert torch.allclose(mixed[~given], denoiser(latents, time)[~given], atol=1e-5)
    assert not torch.allclose(mixed[given], denoiser(latents, time)[given], atol=1e-5)


def test_embedding_is_sines_then_cosines() -> None:
    embedded = sinusoidal_embedding(torch.tensor([0.0, 0.5]), 8, scale=10.0)
    assert embedded.shape == (2, 8)
    assert embedded[0].tolist() == [0.0] * 4 + [1.0] * 4
    assert float(embedded[1, 0]) == pytest.approx(float(torch.tensor(5.0).sin()))


@pytest.mark.parametrize("denoiser", three(8), ids=["conv", "mlp", "transformer"])
def test_every_denoiser_learns_the_noise_on_a_constant(denoiser: nn.Module) -> None:
    process = Process(DiffusionConfig("linear", "noise", standardise=False))
    loss = process.loss(denoiser, torch.randn(64, 8), Random(0, "test", 0, CPU))
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in denoiser.parameters())
    # The prediction of nothing at all would be off by Var(ε) = 1.
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    for step in range(20):
        optimizer.zero_grad()
        loss = process.loss(denoiser, torch.zeros(16, 8), Random(0, "test", step, CPU))
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.6


@pytest.mark.parametrize(
    ("schedule", "objective", "zero", "sampler"),
    [
        ("line", "velocity", False, SamplerConfig("midpoint", 20)),
        ("line", "data", False, SamplerConfig("heun", 20)),
        ("line", "v", False, SamplerConfig("ddpm", 100)),
        ("linear", "noise", False, SamplerConfig("ddpm", 200)),
        ("linear", "v", False, SamplerConfig("ddim", 50)),
        ("cosine", "v", False, SamplerConfig("dpm++2m", 20)),
        ("linear", "v", True, SamplerConfig("ddpm", 200)),
        ("cosine", "velocity", False, SamplerConfig("euler", 50)),
    ],
)
def test_what_is_trained_draws_the_gaussian_that_it_has_seen(
    schedule: str, objective: str, zero: bool, sampler: SamplerConfig
) -> None:
    config = DiffusionConfig(schedule, objective, standardise=True, zero_terminal_snr=zero)  # type: ignore[arg-type]
    process = Process(config)
    torch.manual_seed(0)
    denoiser = build_denoiser(MlpDenoiserConfig(64, 2), 2, 1000)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=6e-3)
    schedule_ = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 150)
    random = Random(0, "test", 0, CPU)
    mean, std = torch.tensor([1.0, -0.5]), torch.tensor([0.5, 1.5])
    for _ in range(150):
        clean = mean + std * random.normal(512, 2)
        loss = process.loss(denoiser, clean, random)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule_.step()
    with torch.no_grad():
        drawn = last(process.states(denoiser, sampler, Normals(0, "sample", range(1000), 2, CPU)))
    assert drawn.mean(dim=0).tolist() == pytest.approx(mean.tolist(), abs=0.15)
    assert drawn.std(dim=0).tolist() == pytest.approx(std.tolist(), abs=0.15)
