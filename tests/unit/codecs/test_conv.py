"""The paper's autoencoder: its size, its padding, its loss."""

import pytest
import torch

from pdiff.codecs import ConvCodec


@pytest.mark.parametrize(("dim", "count"), [(2048, 2_182_689), (2669, 2_347_169), (2688, 2_347_169)])
def test_it_has_its_published_size(dim: int, count: int) -> None:
    assert sum(p.numel() for p in ConvCodec(dim, 128).parameters()) == count


@pytest.mark.parametrize("dim", [1, 31, 32, 100])
def test_rows_of_any_length_come_back_with_their_shape(dim: int) -> None:
    codec = ConvCodec(dim, 8).eval()
    latents = codec.encode(torch.randn(3, dim))
    assert latents.shape == (3, 8)
    assert codec.decode(latents).shape == (3, dim)


def test_loss_is_the_reconstruction_error_under_both_noises() -> None:
    codec = ConvCodec(64, 8).eval()
    rows, input_noise, latent_noise = torch.randn(5, 64), 0.1 * torch.randn(5, 64), torch.randn(5, 8)
    with torch.no_grad():
        decoded = codec.decode(codec.encode(rows + input_noise) + latent_noise)
        loss = codec.loss(rows, input_noise, latent_noise)
    assert float(loss) == pytest.approx(float((decoded - rows).square().mean()))
