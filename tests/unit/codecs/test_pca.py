"""The Gram PCA against the singular value decomposition of the centred rows."""

import pytest
import torch

from pdiff.codecs import fit_pca


def rows(members: int = 12, dim: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 + torch.randn(members, dim, generator=generator) * torch.linspace(0.1, 2, dim)


def test_it_spans_the_leading_singular_vectors() -> None:
    x = rows()
    codec = fit_pca(lambda: x.split(7, dim=1), 4)
    _, singular, vectors = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False)
    for direction, value, basis in zip(vectors[:4], singular[:4], codec.basis, strict=True):
        assert abs(float(basis / basis.norm() @ direction)) == pytest.approx(1, abs=1e-5)
        assert float(basis.norm()) == pytest.approx(float(value) / 12**0.5, rel=1e-5)


def test_latents_of_the_bank_are_white() -> None:
    x = rows()
    latents = fit_pca(lambda: [x], 5).encode(x)
    assert torch.allclose(latents.mean(dim=0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(latents.T @ latents / 12, torch.eye(5), atol=1e-4)


def test_all_directions_reconstruct_the_bank() -> None:
    x = rows()
    codec = fit_pca(lambda: [x], 100)
    assert codec.latent_dim == 11  # K − 1
    assert torch.allclose(codec.decode(codec.encode(x)), x, atol=1e-4)
