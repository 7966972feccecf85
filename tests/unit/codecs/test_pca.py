"""The Gram PCA against the singular value decomposition of the centred rows."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.codecs import PcaCodec, fit_pca
from tests.support import bank_of

MEMBERS, DIM = 12, 40


@pytest.fixture
def x() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 + torch.randn(MEMBERS, DIM, generator=generator) * torch.linspace(0.1, 2, DIM)


def fit(x: Tensor, folder: Path, latent_dim: int) -> PcaCodec:
    bank = bank_of(x, folder)
    return fit_pca(bank.view(range(len(bank))), "none", latent_dim)


def test_it_spans_the_leading_singular_vectors(x: Tensor, tmp_path: Path) -> None:
    codec = fit(x, tmp_path, 4)
    _, singular, vectors = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False)
    for direction, value, basis in zip(vectors[:4], singular[:4], codec.basis, strict=True):
        assert abs(float(basis / basis.norm() @ direction)) == pytest.approx(1, abs=1e-5)
        assert float(basis.norm()) == pytest.approx(float(value) / MEMBERS**0.5, rel=1e-5)


def test_latents_of_the_bank_are_white(x: Tensor, tmp_path: Path) -> None:
    latents = fit(x, tmp_path, 5).encode(x)
    assert torch.allclose(latents.mean(dim=0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(latents.T @ latents / MEMBERS, torch.eye(5), atol=1e-4)


def test_all_directions_reconstruct_the_bank(x: Tensor, tmp_path: Path) -> None:
    codec = fit(x, tmp_path, 100)
    assert codec.latent_dim == MEMBERS - 1
    assert torch.allclose(codec.decode(codec.encode(x)), x, atol=1e-4)


def test_small_differences_of_rows_that_share_much_are_kept(x: Tensor, tmp_path: Path) -> None:
    close = 1000 + (x - 3) / 64
    codec = fit(close, tmp_path, 100)
    error = (codec.decode(codec.encode(close)) - close).abs().max()
    assert float(error) < 1e-3  # ten times the rounding of numbers near 1000; the differences are near 0.02


def test_some_members_of_a_bank_are_a_bank(x: Tensor, tmp_path: Path) -> None:
    chosen = [0, 2, 3, 4, 7, 8, 10, 11]
    bank = bank_of(x, tmp_path)
    codec = fit_pca(bank.view(chosen), "none", 5)
    (tmp_path / "apart").mkdir()
    alone = fit(x[chosen], tmp_path / "apart", 5)
    torch.testing.assert_close(codec.mean, alone.mean)
    signs = (codec.basis * alone.basis).sum(dim=1, keepdim=True).sign()
    torch.testing.assert_close(codec.basis, signs * alone.basis, rtol=1e-4, atol=1e-5)
