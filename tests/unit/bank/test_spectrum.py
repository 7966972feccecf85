"""The principal axes against the singular value decomposition of the normalised rows."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank, View
from pdiff.bank.rows import Normalization
from pdiff.bank.spectrum import mean_row, spectrum
from tests.support import bank_of

MEMBERS, DIM = 12, 40
CHOSEN = [10, 0, 2, 3, 7, 8]


@pytest.fixture
def small(tmp_path: Path) -> Bank:
    generator = torch.Generator().manual_seed(0)
    return bank_of(3 + torch.randn(MEMBERS, DIM, generator=generator) * torch.linspace(0.1, 2, DIM), tmp_path)


def centred(members: Bank | View, kind: Normalization) -> tuple[Tensor, Tensor]:
    """The normalised rows around their mean, f64 [k, D], and the mean."""
    rows = members.batch(range(len(members)), members.normalizer(kind)).double()
    return rows - rows.mean(dim=0), rows.mean(dim=0)


@pytest.mark.parametrize("kind", ["tensor", "element", "none"])
@pytest.mark.parametrize("chosen", [None, CHOSEN])
def test_axes_are_those_of_the_singular_values(
    small: Bank, kind: Normalization, chosen: list[int] | None
) -> None:
    members = small if chosen is None else small.view(chosen)
    x, mean = centred(members, kind)
    found = spectrum(members, kind)
    left, singular, axes = torch.linalg.svd(x, full_matrices=False)
    R = len(members) - 1
    torch.testing.assert_close(found.gram, x @ x.T, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found.values, singular[:R].square(), rtol=1e-5, atol=0)
    assert found.vectors.shape == (len(members), R)
    assert torch.allclose((found.vectors * left[:, :R]).sum(dim=0).abs(), torch.ones(R).double(), atol=1e-5)
    combined = small.combine(found.coefficients(), small.normalizer(kind), centred=True).double()
    expected = axes[:R] * singular[:R, None] / len(members) ** 0.5
    signs = (combined * expected).sum(dim=1, keepdim=True).sign()
    torch.testing.assert_close(combined, signs * expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mean_row(members, kind).double(), mean, rtol=1e-5, atol=1e-5)


def test_coefficients_are_as_many_as_are_wanted_and_there(small: Bank) -> None:
    found = spectrum(small.view(CHOSEN), "none")
    assert found.coefficients(2).shape == (2, MEMBERS)
    assert torch.equal(found.coefficients(2), found.coefficients()[:2])
    assert len(found.coefficients(99)) == len(CHOSEN) - 1
    others = [index for index in range(MEMBERS) if index not in CHOSEN]
    assert not found.coefficients()[:, others].any()
    assert torch.allclose(found.coefficients().sum(dim=1), torch.zeros(5).double(), atol=1e-12)


def test_rounding_makes_no_axes(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    directions, places = torch.randn(5, 500, generator=generator), torch.randn(24, 5, generator=generator)
    bank = bank_of(places @ directions, tmp_path)
    for kind in ("tensor", "element"):
        assert len(spectrum(bank, kind).values) == 5


def test_a_member_alone_has_no_axes(small: Bank) -> None:
    found = spectrum(small.view([4]), "none")
    assert found.coefficients().shape == (0, MEMBERS)
    assert torch.equal(mean_row(small.view([4]), "none"), small.batch([4])[0])
    with pytest.raises(ValueError, match="no members"):
        spectrum(small.view([]), "none")


def test_each_is_computed_once(small: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    first, mean = spectrum(small, "tensor"), mean_row(small, "tensor")
    part = spectrum(small.view(CHOSEN), "tensor")
    assert spectrum(small, "element") is not first
    monkeypatch.setattr(Bank, "gram", None)
    monkeypatch.setattr(Bank, "combine", None)
    assert spectrum(small.view(range(MEMBERS)), "tensor") is first
    assert spectrum(small.view(CHOSEN), "tensor") is part
    again = mean_row(small, "tensor")
    assert torch.equal(again, mean)
    again.fill_(0)
    assert torch.equal(mean_row(small, "tensor"), mean), "rows are the caller's"
