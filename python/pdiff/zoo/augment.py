"""Random variation of training images."""

import torch
from torch import Tensor


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
    sample = torch.arange(n)[:, None, None]
    return images[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
