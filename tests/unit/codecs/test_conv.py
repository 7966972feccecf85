"""The paper's autoencoder: its size, its padding, its loss, its micro-batches."""

import pytest
import torch

from pdiff.codecs.base import pieces
from pdiff.codecs.conv import ConvAutoencoder, micro_batch


@pytest.mark.parametrize(("dim", "count"), [(2048, 2_182_689), (2669, 2_347_169), (2688, 2_347_169)])
def test_it_has_its_published_size(dim: int, count: int) -> None:
    assert sum(p.numel() for p in ConvAutoencoder(dim, 128).parameters()) == count


@pytest.mark.parametrize("dim", [1, 31, 32, 100])
def test_rows_of_any_length_come_back_with_their_shape(dim: int) -> None:
    codec = ConvAutoencoder(dim, 8).eval()
    latents = codec.encode(torch.randn(3, dim))
    assert latents.shape == (3, 8)
    assert codec.decode(latents).shape == (3, dim)


def test_loss_is_the_reconstruction_error_under_both_noises() -> None:
    codec = ConvAutoencoder(64, 8).eval()
    rows, input_noise, latent_noise = torch.randn(5, 64), 0.1 * torch.randn(5, 64), torch.randn(5, 8)
    with torch.no_grad():
        decoded = codec.decode(codec.encode(rows + input_noise) + latent_noise)
        loss = codec.loss(rows, input_noise, latent_noise)
    assert float(loss) == pytest.approx(float((decoded - rows).square().mean()))


@pytest.mark.parametrize("count", [1, 2, 7, 50])
@pytest.mark.parametrize("size", [1, 2, 4, 64])
def test_pieces_cover_a_batch_once_and_none_is_too_large(count: int, size: int) -> None:
    found = list(pieces(count, size))
    assert [row for piece in found for row in range(count)[piece]] == list(range(count))
    widths = [piece.stop - piece.start for piece in found]
    assert 1 <= min(widths) <= max(widths) <= size
    assert max(widths) - min(widths) <= 1


def test_the_papers_batches_are_whole_and_those_of_long_rows_are_not() -> None:
    """So `paper` on its 2,048 numbers is the paper's recipe, and a row of 300,288 goes alone."""
    assert [micro_batch(dim) for dim in (2048, 2669, 100_288, 300_288)] == [128, 128, 4, 1]
