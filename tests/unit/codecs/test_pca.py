"""The Gram PCA against the singular value decomposition of the centred rows."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.bank import View
from pdiff.codecs.base import Train
from pdiff.codecs.pca import PcaCodec
from tests.support import bank_of

MEMBERS, DIM = 12, 40


@pytest.fixture
def x() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 + torch.randn(MEMBERS, DIM, generator=generator) * torch.linspace(0.1, 2, DIM)


def never(*_: object) -> None:
    raise AssertionError("nothing is to be trained")


TRAIN: Train = never


def fit_to(members: View, latent_dim: int) -> PcaCodec:
    codec = PcaCodec(members, "none", latent_dim)
    codec.fit(TRAIN, 0)
    return codec


def fit(x: Tensor, folder: Path, latent_dim: int) -> PcaCodec:
    bank = bank_of(x, folder)
    return fit_to(bank.view(range(len(bank))), latent_dim)


def basis(codec: PcaCodec) -> Tensor:
    """Return the directions [Z, D], as the codec decodes them."""
    origin = codec.decode(torch.zeros(1, codec.latent_dim))
    return codec.decode(torch.eye(codec.latent_dim)) - origin


def test_it_spans_the_leading_singular_vectors(x: Tensor, tmp_path: Path) -> None:
    codec = fit(x, tmp_path, 4)
    _, singular, vectors = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False)
    for direction, value, found in zip(vectors[:4], singular[:4], basis(codec), strict=True):
        assert abs(float(found / found.norm() @ direction)) == pytest.approx(1, abs=1e-5)
        assert float(found.norm()) == pytest.approx(float(value) / MEMBERS**0.5, rel=1e-5)


def test_latents_of_the_bank_are_white(x: Tensor, tmp_path: Path) -> None:
    latents = fit(x, tmp_path, 5).encode(x)
    assert torch.allclose(latents.mean(dim=0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(latents.T @ latents / MEMBERS, torch.eye(5), atol=1e-4)


def test_all_directions_reconstruct_the_bank(x: Tensor, tmp_path: Path) -> None:
    codec = fit(x, tmp_path, 100)
    assert codec.latent_dim == MEMBERS - 1
    assert torch.allclose(codec.decode(codec.encode(x)), x, atol=1e-4)


def test_a_view_is_encoded_as_its_rows_are(x: Tensor, tmp_path: Path) -> None:
    """Members that the codec was not fitted to, too."""
    bank = bank_of(x, tmp_path)
    codec = fit_to(bank.view([0, 2, 3, 4, 7, 8, 10, 11]), 5)
    view = bank.view([9, 1, 2])
    torch.testing.assert_close(codec.encode_view(view), codec.encode(x[[9, 1, 2]]), rtol=1e-4, atol=1e-5)


def test_the_variance_kept_is_that_of_reconstructions(x: Tensor, tmp_path: Path) -> None:
    codec = fit(x, tmp_path, 4)
    latents = codec.encode(x)
    error = (codec.decode(latents) - x).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert codec.variance_kept(latents) == pytest.approx(1 - float(error), abs=1e-5)


def test_a_loaded_codec_is_the_same(x: Tensor, tmp_path: Path) -> None:
    codec = fit(x, tmp_path, 4)
    other = PcaCodec(codec.members, "none", 4)
    other.load(codec.state())
    latents = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(other.decode(latents), codec.decode(latents))
    assert torch.equal(other.encode(x), codec.encode(x))


def test_small_differences_of_rows_that_share_much_are_kept(x: Tensor, tmp_path: Path) -> None:
    close = 1000 + (x - 3) / 64
    codec = fit(close, tmp_path, 100)
    error = (codec.decode(codec.encode(close)) - close).abs().max()
    assert float(error) < 1e-3  # ten times the rounding of numbers near 1000; the differences are near 0.02


def test_some_members_of_a_bank_are_a_bank(x: Tensor, tmp_path: Path) -> None:
    chosen = [0, 2, 3, 4, 7, 8, 10, 11]
    bank = bank_of(x, tmp_path)
    ours = fit_to(bank.view(chosen), 5)
    (tmp_path / "apart").mkdir()
    alone = fit(x[chosen], tmp_path / "apart", 5)
    nothing = torch.zeros(1, 5)
    torch.testing.assert_close(ours.decode(nothing), alone.decode(nothing))
    signs = (basis(ours) * basis(alone)).sum(dim=1, keepdim=True).sign()
    torch.testing.assert_close(basis(ours), signs * basis(alone), rtol=1e-4, atol=1e-4)
