"""Draw random numbers as a function of (seed, purpose, index), never of what ran before.

So sample i is the same whatever the number of samples, and step n draws the same noise after a resume.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def _key(seed: int, purpose: str, index: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=16).digest()


def numpy_generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Return NumPy's Philox generator for (seed, purpose, index): 128 bits tell the streams apart."""
    key = np.frombuffer(_key(seed, purpose, index), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def normal(generator: np.random.Generator, shape: Sequence[int], device: torch.device) -> Tensor:
    """Draw standard normals: float32 of `shape` on `device`, the same numbers on every device."""
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32)).to(device)


def torch_generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """Return torch's CPU generator for (seed, purpose, index).

    It keeps 32 bits of its seed, enough for a few streams: where there may be thousands (a sample, a
    training step), two would be the same; take `numpy_generator` there.
    """
    generator = torch.Generator()
    generator.manual_seed(int.from_bytes(_key(seed, purpose, index)[:8], "little"))
    return generator


@contextmanager
def seeded(seed: int, purpose: str, index: int = 0) -> Iterator[None]:
    """Seed torch's global CPU generator, which layers initialise from, and put it back afterwards."""
    state = torch.random.get_rng_state()
    torch.default_generator.manual_seed(torch_generator(seed, purpose, index).initial_seed())
    try:
        yield
    finally:
        torch.random.set_rng_state(state)
