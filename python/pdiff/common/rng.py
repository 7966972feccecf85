"""Draw random numbers as a function of (seed, purpose, index), never of what ran before.

So sample i is the same whatever the number of samples, and step n draws the same noise after a resume. What
draws torch's tensors is in `pdiff.common.torch_rng`.
"""

import hashlib

import numpy as np
import numpy.typing as npt


def key_of(seed: int, purpose: str, index: int) -> bytes:
    """Return 16 bytes that tell this stream from every other."""
    return hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=16).digest()


def numpy_generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Return NumPy's Philox generator for (seed, purpose, index): 128 bits tell the streams apart."""
    key = np.frombuffer(key_of(seed, purpose, index), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def drawn(members: int, size: int, seed: int, purpose: str, step: int) -> npt.NDArray[np.int64]:
    """Draw the members of the batch of training step `step`; distinct, if there are enough.

    Steps are independent of each other and every batch is full, however few members there are: in epochs, a
    bank with fewer members than a batch would have less than one step.
    """
    return numpy_generator(seed, purpose, step).choice(members, size, replace=size > members)
