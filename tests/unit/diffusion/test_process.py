"""Losses, schedules and denoisers against what they are defined to be."""

import pytest
import torch
from torch import Tensor, nn

from pdiff.common.config import PRESETS, DiffusionConfig, LatentConfig
from pdiff.common.rng import Normals, Random
from pdiff.diffusion import build_denoiser, build_process
from pdiff.diffusion.denoisers import ConvDenoiser, MlpDenoiser, sinusoidal_embedding
from pdiff.diffusion.process import ddpm_loss, diffuse, flow_loss, last, linear_schedule

CPU = torch.device("cpu")


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_paper_denoiser_has_its_published_size() -> None:
    assert parameters(ConvDenoiser(128, 1000)) == 2_462_977


def test_linear_schedule_multiplies_up() -> None:
    schedule = linear_schedule(1000, 1e-4, 2e-2)
    assert float(schedule.beta[0]) == pytest.approx(1e-4)
    assert float(schedule.beta[-1]) == pytest.approx(2e-2)
    product = 1.0
    for beta in schedule.beta.tolist():
        product *= 1 - beta
    assert float(schedule.alpha_bar[-1]) == pytest.approx(product)


def test_diffuse_keeps_variance_one() -> None:
    schedule = linear_schedule(100, 1e-3, 2e-2)
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(50_000, 1, generator=generator) for _ in range(2))
    noisy = diffuse(schedule, clean, torch.full((50_000,), 60), noise)
    assert float(noisy.var()) == pytest.approx(1.0, abs=0.02)


def test_losses_vanish_for_the_perfect_prediction() -> None:
    clean, noise = torch.randn(5, 3), torch.randn(5, 3)
    schedule = linear_schedule(10, 1e-3, 2e-2)
    assert ddpm_loss(lambda z, t: noise, schedule, clean, torch.arange(5), noise) == 0
    assert flow_loss(lambda z, t: clean - noise, clean, torch.rand(5), noise) == 0


def test_ddpm_tells_the_denoiser_the_timestep_that_made_the_noise() -> None:
    schedule = linear_schedule(10, 1e-3, 2e-2)
    seen: list[Tensor] = []

    def denoiser(latents: Tensor, time: Tensor) -> Tensor:
        seen.append(time)
        return latents

    ddpm_loss(denoiser, schedule, torch.zeros(2, 1), torch.tensor([0, 9]), torch.zeros(2, 1))
    assert seen[0].tolist() == pytest.approx([0.1, 1.0])


@pytest.mark.parametrize("denoiser", [ConvDenoiser(16, 1000), MlpDenoiser(16, 32, 2)])
def test_in_eval_mode_a_prediction_depends_on_its_own_sample_alone(denoiser: nn.Module) -> None:
    denoiser.eval()
    latents, time = torch.randn(4, 16), torch.rand(4)
    together = denoiser(latents, time)
    alone = denoiser(latents[1:2], time[1:2])
    assert together.shape == (4, 16)
    assert torch.allclose(together[1:2], alone, atol=1e-6)


def test_embedding_is_sines_then_cosines() -> None:
    embedded = sinusoidal_embedding(torch.tensor([0.0, 0.5]), 8, scale=10.0)
    assert embedded.shape == (2, 8)
    assert embedded[0].tolist() == [0.0] * 4 + [1.0] * 4
    assert float(embedded[1, 0]) == pytest.approx(float(torch.tensor(5.0).sin()))


PROCESSES = {
    preset.diffusion: name for name, preset in reversed(PRESETS.items()) if isinstance(preset, LatentConfig)
}
"""What the presets train, each once, with the name of the first preset that does."""


@pytest.mark.parametrize("config", PROCESSES, ids=PROCESSES.values())
def test_every_preset_trains_and_samples_one_step(config: DiffusionConfig) -> None:
    torch.manual_seed(0)
    process, denoiser = build_process(config), build_denoiser(config, 8)
    loss = process.loss(denoiser, torch.randn(64, 8), Random(0, "test", 0, CPU))
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in denoiser.parameters())
    # The prediction of nothing at all would be off by Var(ε) = 1, or by Var(z_0 − ε) = 2.
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=1e-3)
    for step in range(40):
        optimizer.zero_grad()
        loss = process.loss(denoiser, torch.zeros(16, 8), Random(0, "test", step, CPU))
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.6


def test_a_trained_flow_learns_a_gaussian() -> None:
    process = build_process(DiffusionConfig("flow", "mlp", standardise=True, timesteps=20))
    torch.manual_seed(0)
    denoiser = MlpDenoiser(2, 64, 2)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    random = Random(0, "test", 0, CPU)
    mean, std = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 1.5])
    for _ in range(300):
        clean = mean + std * random.normal(256, 2)
        loss = process.loss(denoiser, clean, random)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        drawn = last(process.states(denoiser, Normals(0, "sample", range(2000), 2, CPU)))
    assert drawn.mean(dim=0).tolist() == pytest.approx(mean.tolist(), abs=0.1)
    assert drawn.std(dim=0).tolist() == pytest.approx(std.tolist(), abs=0.1)
