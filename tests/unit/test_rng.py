"""Counter-based generators."""

import numpy as np
import torch

from pdiff.rng import numpy_generator, torch_generator


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
