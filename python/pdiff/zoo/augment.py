"""Vary training images at random, a batch at a time."""

from collections.abc import Callable, Mapping
from math import log

import torch
from torch import Tensor, nn

from pdiff.zoo.recipes import Augment

SCALE = (0.08, 1.0)
"""Least and largest share of the area that a crop takes (Szegedy et al., arXiv 1409.4842)."""
RATIO = (3 / 4, 4 / 3)
"""Least and largest width over height of a crop."""


def flip_and_shift(images: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """Mirror half of the images [B, C, H, W] left to right and shift each by up to `reach` pixels.

    The border pixels fill what a shift uncovers.
    """
    n, _, height, width = images.shape
    down, right = torch.randint(-reach, reach + 1, (2, n, 1), generator=generator)
    rows = (torch.arange(height) + down).clamp(0, height - 1)  # [B, H], which row to take
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    sample = torch.arange(n, device=images.device)[:, None, None]
    rows, columns = rows.to(images.device), columns.to(images.device)
    return images[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def resized_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a random rectangle out of each image [B, C, H, W], resize it to H × W, and mirror half of them.

    Each takes a share of the area uniform in `SCALE` with a ratio log-uniform in `RATIO`, where that fits;
    pixels between pixels are interpolated bilinearly.
    """
    n, _, height, width = images.shape
    area = torch.empty(n).uniform_(*SCALE, generator=generator)
    ratio = torch.empty(n).uniform_(log(RATIO[0]), log(RATIO[1]), generator=generator).exp()
    size = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1)  # [B, 2], x and y
    centre = (1 - size) * (2 * torch.rand(n, 2, generator=generator) - 1)  # of [-1, 1]
    mirrored = torch.rand(n, generator=generator) < 0.5
    scale = torch.where(mirrored, -size[:, 0], size[:, 0])
    transform = images.new_zeros(n, 2, 3)
    transform[:, 0, 0], transform[:, 1, 1] = scale.to(images), size[:, 1].to(images)
    transform[:, :, 2] = centre.to(images)
    grid = nn.functional.affine_grid(transform, [n, 1, height, width], align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


AUGMENTATIONS: Mapping[Augment, Callable[[Tensor, torch.Generator], Tensor] | None] = {
    "none": None,
    "flip-and-shift": flip_and_shift,
    "resized-crop": resized_crop,
}
