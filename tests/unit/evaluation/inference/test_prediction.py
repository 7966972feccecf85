"""Predictions as bytes: unpacked as they were packed, or not at all."""

import pytest
import torch

from pdiff.evaluation.inference.predictions import Prediction


@pytest.mark.parametrize("measures", [0, 3])
@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("n", [1, 8, 13])
def test_a_prediction_is_unpacked_as_it_was_packed(n: int, parts: int, measures: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(n)
    measured = torch.randn(n, measures, generator=generator) if measures else None
    votes = torch.rand(n, classes, generator=generator) if classes else None
    prediction = Prediction(torch.rand(n * parts, generator=generator) > 0.5, parts, measured, votes)
    data = prediction.packed()
    found = Prediction.unpacked(data)
    assert found is not None
    assert (found.samples, found.parts) == (n, parts)
    assert torch.equal(found.wrong, prediction.wrong)
    for ours, theirs in ((found.measured, measured), (found.probabilities, votes)):
        assert (ours is None) == (theirs is None)
        assert ours is None or (torch.equal(ours, theirs) and ours.dtype == theirs.dtype)
    assert all(Prediction.unpacked(data[:cut]) is None for cut in range(len(data)))
