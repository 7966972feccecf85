"""Counter-based generators."""

import numpy as np
import torch

from pdiff.common.rng import numpy_generator
from pdiff.common.torch_rng import Normals, Random, seeded, torch_generator

CPU = torch.device("cpu")


def test_streams_depend_on_every_argument_and_on_nothing_else() -> None:
    def first(*arguments: int | str) -> float:
        return float(numpy_generator(*arguments).random())  # type: ignore[arg-type]

    assert first(1, "a", 2) == first(1, "a", 2)
    assert len({first(1, "a", 2), first(2, "a", 2), first(1, "b", 2), first(1, "a", 3)}) == 4
    assert torch.equal(
        torch.randn(3, generator=torch_generator(1, "a")),
        torch.randn(3, generator=torch_generator(1, "a", 0)),
    )


def test_torch_and_numpy_streams_are_standard_normal() -> None:
    assert abs(numpy_generator(0, "x").standard_normal(100_000).mean()) < 0.02
    draws = torch.randn(100_000, generator=torch_generator(0, "x"))
    assert np.isclose(float(draws.std()), 1, atol=0.02)


def test_streams_do_not_collide_where_32_bits_would() -> None:
    """Indices 25436 and 48211 of this purpose agree in the 32 bits that torch's CPU generator keeps."""
    first, second = (torch_generator(0, "sample", index) for index in (25436, 48211))
    assert torch.equal(torch.randn(4, generator=first), torch.randn(4, generator=second))
    draws = [Random(0, "sample", index, CPU).normal(4) for index in (25436, 48211)]
    assert not torch.equal(*draws)


def test_the_cpu_draws_the_numbers_of_numpy_one_after_the_other() -> None:
    random, generator = Random(1, "a", 2, CPU), numpy_generator(1, "a", 2)
    assert torch.equal(random.integers(10, 5), torch.from_numpy(generator.integers(10, size=5)))
    assert torch.equal(
        random.normal(2, 3), torch.from_numpy(generator.standard_normal((2, 3), dtype=np.float32))
    )
    assert torch.equal(random.uniform(4), torch.from_numpy(generator.random(4, dtype=np.float32)))


def test_a_row_of_noise_depends_on_its_index_alone() -> None:
    several = Normals(1, "a", [0, 5, 7], 3, CPU)
    steps = torch.stack([several() for _ in range(40)])
    alone, generator = Normals(1, "a", [5], 3, CPU), numpy_generator(1, "a", 5)
    assert torch.equal(torch.cat([alone() for _ in range(40)]), steps[:, 1])
    one = [generator.standard_normal(3, dtype=np.float32) for _ in range(40)]
    assert torch.equal(steps[:, 1], torch.from_numpy(np.stack(one)))


def test_seeding_the_global_generator_ends_with_the_block() -> None:
    before = torch.random.get_rng_state()
    with seeded(0, "x"):
        first = torch.randn(3)
    with seeded(0, "x"):
        assert torch.equal(torch.randn(3), first)
    assert torch.equal(torch.random.get_rng_state(), before)
