"""Draw torch's random numbers as a function of (seed, purpose, index), as `pdiff.common.rng` does NumPy's.

Noise is drawn on the device that uses it: by NumPy's Philox for the CPU, by torch's for a GPU. The two give
other numbers; two devices of one kind give the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from pdiff.common.rng import key_of, numpy_generator

_AHEAD = 16
"""Numbers of a row that are drawn at a time."""


class Random:
    """The random numbers of (seed, purpose, index), drawn one after the other on a device."""

    def __init__(self, seed: int, purpose: str, index: int, device: torch.device) -> None:
        self._device = device
        self._numpy = self._torch = None
        if device.type == "cpu":
            self._numpy = numpy_generator(seed, purpose, index)
        else:
            self._torch = torch.Generator(device)
            self._torch.manual_seed(int.from_bytes(key_of(seed, purpose, index)[:8], "little"))

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normals: f32 of `shape`."""
        if self._numpy is not None:
            return torch.from_numpy(self._numpy.standard_normal(shape, dtype=np.float32))
        return torch.randn(shape, generator=self._torch, device=self._device)

    def uniform(self, count: int) -> Tensor:
        """Draw numbers in [0, 1): f32 [count]."""
        if self._numpy is not None:
            return torch.from_numpy(self._numpy.random(count, dtype=np.float32))
        return torch.rand(count, generator=self._torch, device=self._device)

    def integers(self, end: int, count: int) -> Tensor:
        """Draw integers from 0 to `end` − 1: i64 [count]."""
        if self._numpy is not None:
            return torch.from_numpy(self._numpy.integers(end, size=count))
        return torch.randint(end, (count,), generator=self._torch, device=self._device)


class Normals:
    """Standard normals for several rows at once; a row depends on (seed, purpose, its index) alone."""

    def __init__(
        self, seed: int, purpose: str, indices: Sequence[int], dim: int, device: torch.device
    ) -> None:
        self._streams = [Random(seed, purpose, index, device) for index in indices]
        self._dim = dim
        self._ahead: list[Tensor] = []

    def __call__(self) -> Tensor:
        """Return the next number of each row: f32 [N, dim]."""
        if not self._ahead:
            drawn = torch.stack([stream.normal(_AHEAD, self._dim) for stream in self._streams], dim=1)
            self._ahead = list(drawn)[::-1]
        return self._ahead.pop()


def torch_generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """Return torch's CPU generator for (seed, purpose, index).

    It keeps 32 bits of its seed, enough for a few streams: where there may be thousands (a sample, a
    training step), two would be the same; take `numpy_generator` there.
    """
    generator = torch.Generator()
    generator.manual_seed(int.from_bytes(key_of(seed, purpose, index)[:8], "little"))
    return generator


@contextmanager
def seeded(seed: int, purpose: str, index: int = 0, *, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global CPU generator, which layers initialise from, and put it back afterwards.

    On a `device` that is a GPU its generator too, from which layers draw there.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        number = torch_generator(seed, purpose, index).initial_seed()
        torch.default_generator.manual_seed(number)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(number)
        yield
