"""Predict the noise in pictures of clothes, which is what image generation by diffusion learns."""

from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pdiff.common.rng import numpy_generator
from pdiff.tasks.base import Metric, Split
from pdiff.tasks.fashion_files import DEBIAN, read_split
from pdiff.tasks.networks import NetworkTable
from pdiff.tasks.unet import UNet

SIZES = MappingProxyType({"train": 16_000, "validation": 500, "test": 1_000})
SIDE = 14
SEED = 42
TIMES = 1_000
REGION = 2
"""Pixels of a region's side."""


def noise_level(times: Tensor) -> Tensor:
    """Return ᾱ of times 0 to 999, the share of a picture in its noisy one's variance: f32, like `times`.

    The linear schedule of DDPM (arXiv 2006.11239, equation 4 and section 4).
    """
    betas = torch.linspace(1e-4, 2e-2, TIMES, dtype=torch.float64)
    return (1 - betas).cumprod(dim=0)[times].float()


def _mean_square() -> Metric:
    def measure(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().flatten(1).mean(dim=1, keepdim=True)

    return Metric("noise MSE", False, False, measure, lambda measured: float(measured.double().mean()))


class Denoising(NetworkTable):
    """Noisy pictures of 14×14 pixels, each at a time of its own, and their noise; f32.

    Inputs [N, 2, 14, 14]: the picture, and its time; targets [N, 1, 14, 14]. Times and noise are drawn once
    for each picture, of 16,000 / 500 / 1,000. A network is judged by the mean squared error of the noise
    (DDPM's loss, equation 14), lower is better: a stand-in for the FID of generated pictures, which needs a
    network that is trained elsewhere. A region of 2×2 pixels is wrong where the mean squared error is above
    the tolerance. Reads Fashion-MNIST as the task `fashion` does.
    """

    name = "denoising"
    metric = _mean_square()
    tolerance = 0.25
    networks = MappingProxyType({"unet": UNet})
    architectures = tuple(networks)

    def __init__(self, data_root: str | Path | None = None) -> None:
        self._root = DEBIAN if data_root is None else Path(data_root)
        self._made: dict[Split, tuple[Tensor, Tensor]] = {}

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return noisy pictures and times [N, 2, 14, 14] and noise [N, 1, 14, 14]; made once."""
        if split not in self._made:
            images, _ = read_split(self._root, split)
            self._made[split] = noisy(images[: SIZES[split]], split)
        return self._made[split]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(outputs, targets)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error of each region: f32 [B, 49], row after row."""
        return F.avg_pool2d((outputs - targets).square(), REGION).flatten(1)


def noisy(images: np.ndarray, split: Split) -> tuple[Tensor, Tensor]:
    """Draw time and noise of each image, u8 [N, 28, 28]; returns inputs and targets of the task."""
    n = len(images)
    pictures = F.avg_pool2d(torch.from_numpy(images.astype(np.float32)).unsqueeze(1), 2).div_(127.5).sub_(1)
    times = torch.from_numpy(numpy_generator(SEED, f"denoising/{split}/times").integers(TIMES, size=n))
    drawn = numpy_generator(SEED, f"denoising/{split}/noise").standard_normal((n, 1, SIDE, SIDE), np.float32)
    noise, kept = torch.from_numpy(drawn), noise_level(times)[:, None, None, None]
    mixed = kept.sqrt() * pictures + (1 - kept).sqrt() * noise  # DDPM, below equation 4
    plane = (times.float() / TIMES)[:, None, None, None].expand(n, 1, SIDE, SIDE)
    return torch.cat([mixed, plane], dim=1), noise
