"""The token codec against plain linear algebra: cutting, local axes, and the way there and back."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pdiff._core import Layout
from pdiff.bank import Bank, View
from pdiff.codecs.token import TokenCodec, cut, principal_axes
from pdiff.common.config import Config, LatentConfig, Optimisation, TokenCodecConfig
from pdiff.common.progress import SILENT
from pdiff.training.interruption import NEVER
from pdiff.training.trainer import Trainer
from tests.support import bank_of

CPU = torch.device("cpu")
SMALL = TokenCodecConfig(size=16, axes=11, latent=11, window=3, width=8, depth=1, heads=2)


@pytest.fixture
def members(tmp_path: Path) -> View:
    """Twelve rows of forty numbers, which span eleven directions, in three tokens."""
    generator = torch.Generator().manual_seed(0)
    bank = bank_of(3 + torch.randn(12, 40, generator=generator) * torch.linspace(0.1, 2, 40), tmp_path)
    return bank.view(range(len(bank)))


def untrained(network: nn.Module, *_: object) -> None:
    network.eval()


def trained(
    network: nn.Module,
    loss: Callable[[int], Iterable[Tensor]],
    how: Optimisation,
    waited: Callable[[], float],
) -> None:
    Trainer("codec", network, loss, how, None, waited=waited).run(SILENT, NEVER)


def codec_of(members: View, config: TokenCodecConfig = SMALL, *, train: bool = False) -> TokenCodec:
    codec = TokenCodec(members, "none", config, 0, CPU)
    codec.fit(trained if train else untrained, 0)
    return codec


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 20))
def test_tokens_cover_a_row_once_and_cross_no_border(sizes: list[int], size: int) -> None:
    layout = Layout([(str(i), "F32", (n,)) for i, n in enumerate(sizes)])
    tokens = cut(layout, size)
    covered = [column for token in tokens for column in range(token.begin, token.end)]
    assert covered == list(range(sum(sizes)))
    for token in tokens:
        segment = layout.segments[token.tensor]
        assert segment.begin <= token.begin < token.end <= segment.end
        assert token.end - token.begin <= size
    lengths = [token.end - token.begin for token in tokens if token.tensor == 0]
    assert max(lengths) - min(lengths) <= 1
    assert [token.piece for token in tokens if token.tensor == 0] == list(range(len(lengths)))


def test_axes_are_the_leading_singular_vectors() -> None:
    block = torch.randn(9, 20, generator=torch.Generator().manual_seed(1)) + 5
    directions, variances, total = principal_axes(block, 4)
    centred = block - block.mean(dim=0)
    _, singular, vectors = torch.linalg.svd(centred, full_matrices=False)
    found = directions.float() @ centred
    torch.testing.assert_close(variances.float(), singular[:4].square() / 9)
    assert float(total) == pytest.approx(float(centred.square().sum()) / 9)
    for axis, value, vector in zip(found, singular, vectors, strict=False):
        assert abs(float(axis @ vector)) == pytest.approx(float(value) / 3, rel=1e-5)


@pytest.mark.parametrize("numbers", [1, 3])
def test_a_token_of_fewer_numbers_has_fewer_axes(numbers: int) -> None:
    directions, variances, _ = principal_axes(torch.randn(9, numbers), 4)
    assert len(directions) == len(variances) == numbers


def test_rows_that_all_agree_have_no_axis() -> None:
    directions, _, total = principal_axes(torch.ones(5, 7), 4)
    assert (len(directions), float(total)) == (0, 0)


def test_all_axes_keep_members_and_no_others(members: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the network out of the way, coordinates are lossless within the members' span."""
    codec = codec_of(members)
    for name in ("encode", "decode"):
        monkeypatch.setattr(codec.network, name, lambda windows: windows)
    rows = members.batch(range(len(members)))
    latents = codec.encode(rows)
    torch.testing.assert_close(codec.decode(latents), rows, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(codec.encode_view(members), latents, atol=1e-4, rtol=1e-4)
    assert codec.variance_kept(latents) == pytest.approx(1, abs=1e-5)
    border = codec.tokens[1].begin  # two members meet here
    mixed = torch.cat([rows[0, :border], rows[1, border:]])[None]
    torch.testing.assert_close(codec.decode(codec.encode(mixed)), mixed, atol=1e-4, rtol=1e-4)


def test_the_variance_kept_is_that_of_the_decoded_rows(members: View) -> None:
    codec = codec_of(members)
    rows, latents = members.batch(range(len(members))), codec.encode_view(members)
    squares = (rows - rows.mean(dim=0)).square().sum()
    slow = 1 - float((codec.decode(latents) - rows).square().sum() / squares)
    assert codec.variance_kept(latents) == pytest.approx(slow, abs=1e-4)


def test_windows_come_back_as_they_were_cut(members: View) -> None:
    network = codec_of(members, TokenCodecConfig(size=6, window=3, width=8, heads=2)).network
    assert (network.count, network.windows, network.length) == (7, 3, 3)
    tokens = torch.randn(2, 7, 5)
    assert torch.equal(network.joined(network.windowed(tokens)), tokens)


def test_a_row_has_the_same_latents_in_any_company(members: View) -> None:
    codec = codec_of(members, TokenCodecConfig(size=6, window=3, width=8, heads=2))
    rows = members.batch(range(5))
    torch.testing.assert_close(codec.encode(rows)[3:4], codec.encode(rows[3:4]), atol=1e-5, rtol=1e-5)


def test_training_brings_the_members_back(members: View) -> None:
    how = Optimisation(steps=300, batch_size=8, lr=3e-3)
    config = TokenCodecConfig(size=16, axes=11, latent=6, width=32, depth=1, latent_noise=0.01, train=how)
    before, after = codec_of(members, config), codec_of(members, config, train=True)
    kept = [each.variance_kept(each.encode_view(members)) for each in (before, after)]
    assert kept[0] < 0.2
    assert kept[1] > 0.9


def test_it_is_what_its_state_says(members: View) -> None:
    codec, other = codec_of(members), TokenCodec(members, "none", SMALL, 1, CPU)
    other.load({name: tensor.clone() for name, tensor in codec.state().items()})
    latents = codec.encode_view(members)
    assert torch.equal(other.encode_view(members), latents)
    assert torch.equal(other.decode(latents), codec.decode(latents))
    with pytest.raises(RuntimeError):
        TokenCodec(members, "none", TokenCodecConfig(size=8, width=8, heads=2), 0, CPU).load(codec.state())


def test_it_is_a_codec_of_runs(bank: Bank) -> None:
    config = Config.build(settings=["codec.kind=token", "codec.size=8", "codec.train.steps=2"])
    assert isinstance(config, LatentConfig)
    assert config.codec == TokenCodecConfig(size=8, train=Optimisation(2, 32, 1e-3, clip=1.0))
