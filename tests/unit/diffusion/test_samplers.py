"""The samplers where the answer is known: Gaussians, whose optimal denoiser has a closed form."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from pdiff.common.config import DiffusionConfig, SamplerConfig
from pdiff.diffusion import Process
from pdiff.diffusion.paths import Line, Path, VariancePreserving, cosine_schedule, linear_schedule
from pdiff.diffusion.samplers import SAMPLERS, Level, ddpm, euler, last, levels

MEAN = torch.tensor([1.5, -0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
IDENTITY = torch.eye(2, dtype=torch.float64)
SAMPLES = 4000
PATHS: dict[str, Path] = {
    "line": Line(),
    "linear": VariancePreserving(linear_schedule(1000, 1e-4, 2e-2)),
    "cosine": VariancePreserving(cosine_schedule(1000)),
}


def exact(latents: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """Part z_t of the Gaussian as the optimal denoiser does: E[z_0 | z_t] and E[ε | z_t]."""
    precision = torch.linalg.inv(level.alpha**2 * COVARIANCE + level.sigma**2 * IDENTITY)
    scaled = (latents - level.alpha * MEAN) @ precision
    return MEAN + level.alpha * scaled @ COVARIANCE, level.sigma * scaled


def normals(count: int, seed: int = 0) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(count, 2, dtype=torch.float64, generator=generator)


def whitened(draw: Callable[[], Tensor]) -> Tensor:
    """Return noise whose mean is 0 and covariance the identity, so that some thousands of samples will do."""
    noise = draw()
    noise = noise - noise.mean(dim=0)
    factor = torch.linalg.cholesky(torch.cov(noise.T))
    return torch.linalg.solve_triangular(factor, noise.T, upper=False).T


def draw(name: str, path: Path, steps: int, noise: Callable[[], Tensor]) -> Tensor:
    return last(SAMPLERS[name](exact, path, levels(path, path.times(steps)), noise))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("name", "steps"),
    [("ddpm", 1000), ("ddim", 250), ("euler", 250), ("heun", 40), ("midpoint", 40), ("dpm++2m", 40)],
)
def test_with_the_exact_denoiser_mean_and_covariance_come_back(path: str, name: str, steps: int) -> None:
    samples = draw(name, PATHS[path], steps, partial(whitened, normals(SAMPLES)))
    assert (samples.mean(dim=0) - MEAN).abs().max() < 0.02
    assert (torch.cov(samples.T) - COVARIANCE).abs().max() < 0.03


@pytest.mark.parametrize(
    ("name", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("midpoint", 2), ("dpm++2m", 2)]
)
def test_errors_fall_with_the_order_of_the_sampler(name: str, order: int) -> None:
    """The line's way from noise to the Gaussian is smooth; twice the steps divide the error by 2^order.

    All covariances on the way share their eigenvectors, along which the flow stretches the noise.
    """
    variances, vectors = torch.linalg.eigh(COVARIANCE)
    true = MEAN + normals(50)() @ (vectors * variances.sqrt()) @ vectors.T
    errors = [float((draw(name, Line(), steps, normals(50)) - true).norm()) for steps in (160, 320, 640)]
    for before, after in pairwise(errors):
        assert before / after > 2**order * 0.8, errors


def test_ddim_is_eulers_step_of_the_flow() -> None:
    """By the velocity, as flow matching has it."""
    steps, latents = 7, normals(5)()
    for step in range(steps):
        (level,) = levels(Line(), [1 - step / steps])
        clean, noise = exact(latents, level)
        latents = latents - (noise - clean) / steps
    torch.testing.assert_close(draw("ddim", Line(), steps, normals(5)), latents)


def test_ddpm_with_all_steps_is_the_papers_algorithm() -> None:
    """Ho et al. 2020, algorithm 2, with the posterior's variance."""
    timesteps = 30
    beta = torch.linspace(1e-3, 2e-1, timesteps, dtype=torch.float64)
    alpha_bar = torch.cumprod(1 - beta, dim=0)
    path = VariancePreserving(linear_schedule(timesteps, 1e-3, 2e-1))
    noise = normals(5)
    latents = noise()
    for t in range(timesteps, 0, -1):
        alpha = float(alpha_bar[t - 1].sqrt())
        _, predicted = exact(latents, Level(t / timesteps, alpha, (1 - alpha**2) ** 0.5))
        latents = latents - beta[t - 1] / (1 - alpha_bar[t - 1]).sqrt() * predicted
        latents = latents / (1 - beta[t - 1]).sqrt()
        if t > 1:
            variance = beta[t - 1] * (1 - alpha_bar[t - 2]) / (1 - alpha_bar[t - 1])
            latents = latents + variance.sqrt() * noise()
    found = last(ddpm(exact, path, levels(path, path.times(timesteps)), normals(5)))
    torch.testing.assert_close(found, latents)


def test_ddpm_draws_noise_for_the_start_and_every_step_but_the_last() -> None:
    draws = []

    def noise() -> Tensor:
        draws.append(1)
        return torch.zeros(3, 2, dtype=torch.float64)

    path = PATHS["linear"]
    states = list(ddpm(exact, path, levels(path, path.times(7)), noise))
    assert (len(states), len(draws)) == (8, 7)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("path", PATHS)
def test_one_step_gives_the_mean_that_is_estimated(name: str, path: str) -> None:
    start = normals(5)()
    (level,) = levels(PATHS[path], [1.0])
    expected = exact(start, level)[0]
    found = draw(name, PATHS[path], 1, normals(5))
    if name == "midpoint":  # it asks once more, on the way
        assert found.isfinite().all()
    else:
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("objective", ["v", "velocity", "data"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_path_that_ends_in_pure_noise_can_be_walked(objective: str, name: str) -> None:
    """Nothing is divided by an α of 0 or a σ of 0."""
    for schedule in ("linear", "line"):
        zero = schedule == "linear"
        config = DiffusionConfig(schedule, objective, standardise=True, zero_terminal_snr=zero)  # type: ignore[arg-type]
        states = Process(config).states(lambda z, t: 0.1 * z, SamplerConfig(name, 5), normals(3))  # type: ignore[arg-type]
        assert all(bool(state.isfinite().all()) for state in states)


def test_temperature_scales_all_noise() -> None:
    process = Process(DiffusionConfig("linear", "noise", standardise=True))
    for name in ("ddpm", "ddim"):
        cold, warm = (
            list(process.states(lambda z, t: 0 * z, SamplerConfig(name, 9, temperature), normals(4)))  # type: ignore[arg-type]
            for temperature in (0.5, 1.0)
        )
        for half, whole in zip(cold, warm, strict=True):
            torch.testing.assert_close(2 * half, whole)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers' own use of NumPy
@pytest.mark.parametrize("steps", [5, 20, 50])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_ddim_and_dpm_solver_are_those_of_diffusers(steps: int, prediction: str) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    options = {
        "num_train_timesteps": 1000,
        "beta_start": 1e-4,
        "beta_end": 2e-2,
        "beta_schedule": "linear",
        "prediction_type": prediction,
        "timestep_spacing": "trailing",
    }
    schedulers = {
        "ddim": diffusers.DDIMScheduler(**options, clip_sample=False, set_alpha_to_one=True),
        "dpm++2m": diffusers.DPMSolverMultistepScheduler(
            **options, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero"
        ),
    }
    objective = {"epsilon": "noise", "v_prediction": "v"}[prediction]
    config = DiffusionConfig("linear", objective, standardise=True)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    matrix = 0.4 * torch.randn(6, 6, dtype=torch.float64, generator=generator)
    start = torch.randn(4, 6, dtype=torch.float64, generator=generator)

    def denoiser(latents: Tensor, time: Tensor) -> Tensor:
        return torch.tanh(latents @ matrix) * (0.5 + time).unsqueeze(1)

    for name, scheduler in schedulers.items():
        scheduler.set_timesteps(steps)
        latents = start
        for index in scheduler.timesteps:
            time = ((index.double() + 1) / 1000)[None]
            latents = scheduler.step(denoiser(latents, time), index, latents).prev_sample
        sampler = SamplerConfig(name, steps)  # type: ignore[arg-type]
        found = last(Process(config).states(denoiser, sampler, lambda: start))
        torch.testing.assert_close(found, latents.double(), rtol=1e-3, atol=1e-4)


def test_the_samplers_have_the_names_of_the_configuration() -> None:
    assert SAMPLERS["ddim"] is SAMPLERS["euler"] is euler
    for name in SAMPLERS:
        SamplerConfig(name, 1)  # type: ignore[arg-type]
