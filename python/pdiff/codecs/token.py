"""Compress rows as sequences of tokens: pieces of one tensor each.

A token's numbers become coordinates along its own principal axes, which the members give exactly, and come
back as combinations of the members' numbers there: for that nothing is learned. A transformer
(`token_autoencoder`) turns the coordinates of a window of tokens into their latents. So memory is set by the
sizes of tokens and windows, not by D.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from pdiff._core import Layout
from pdiff.bank import View
from pdiff.bank.rows import Normalization
from pdiff.bank.spectrum import TOLERANCE
from pdiff.codecs.base import Codec, Train, pieces
from pdiff.codecs.token_autoencoder import Token, TokenAutoencoder
from pdiff.common.config import TokenCodecConfig
from pdiff.common.rng import drawn
from pdiff.common.torch_rng import Random, seeded

_BLOCK = 2**24
"""Numbers of the bank that are in memory together, at most, or one token's."""

_AXES = ("directions", "variances", "totals")

Columns = tuple[int, int]


class TokenCodec(Codec):
    """Principal axes of each token, then a transformer autoencoder over windows of T tokens."""

    def __init__(
        self, members: View, kind: Normalization, config: TokenCodecConfig, seed: int, device: torch.device
    ) -> None:
        super().__init__(members, kind)
        self.config = config
        self.device = device
        self.tokens = cut(members.layout, config.size)
        self.latent_dim = len(self.tokens) * config.latent
        with seeded(seed, "codec-init"):
            self.network = TokenAutoencoder(self.tokens, members.layout, config).to(device)
        shape = len(self.tokens), config.axes
        self.directions = torch.zeros(*shape, len(members))
        """Combinations of the K members that are the axes times the std along them: f32 [T, A, K]."""
        self.variances = torch.zeros(shape)
        """Of the members along the axes: f32 [T, A]; 0 for axes that a token does not have."""
        self.totals = torch.zeros(len(self.tokens))
        """Of the members' numbers in a token, added up: f32 [T]."""

    def fit(self, train: Train, seed: int) -> None:
        """Find each token's axes, then train the network on the members' coordinates along them."""
        for place, (_, block) in enumerate(self._blocks()):
            directions, variances, total = principal_axes(block, self.config.axes)
            self.directions[place, : len(variances)] = directions
            self.variances[place, : len(variances)] = variances
            self.totals[place] = total
        network, how = self.network, self.config.train
        windows = network.windowed(self._coordinates(self._columns(self.members))).to(self.device)
        shares = self.variances / self.totals.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        weights = network.windowed(shares[None]).to(self.device)

        def losses(step: int) -> Iterator[Tensor]:
            chosen = torch.from_numpy(drawn(len(windows), how.batch_size, seed, "codec-batch", step))
            which = chosen.to(self.device)
            random = Random(seed, "codec-noise", step, self.device)
            yield network.loss(windows[which], weights[which % len(weights)], which % len(weights), random)

        train(network, losses, how, lambda: 0.0)

    @torch.no_grad()
    def encode(self, rows: Tensor) -> Tensor:
        """Map normalised rows [B, D] to latents [B, Z], on the codec's device."""
        rows = rows.cpu()
        return self._encode(lambda columns: rows[:, slice(*columns)])

    @torch.no_grad()
    def encode_view(self, view: View) -> Tensor:
        """Return the latents [K, Z] of a view of the same bank; its rows are never in memory whole."""
        return self._encode(self._columns(view))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Map latents [B, Z] to normalised rows [B, D], on the CPU: one pass over the members."""
        coordinates = self._decode(latents)
        rows = torch.empty(len(latents), self.members.dim)
        for place, (token, block) in enumerate(self._blocks()):
            weights, mean = coordinates[:, place] @ self.directions[place], block.mean(dim=0)
            rows[:, token.begin : token.end] = weights @ (block - mean) + mean
        return rows

    @torch.no_grad()
    def variance_kept(self, latents: Tensor) -> float:
        """Return the share of the variance between members that their `latents` [K, Z] keep.

        It is counted along the axes: what lies along none of them is lost.
        """
        members = self._coordinates(self._columns(self.members))
        lost = self.variances * (self._decode(latents) - members).square().mean(dim=0)  # [T, A]
        kept = self.variances.sum() - lost.sum()
        return float(kept / self.totals.sum())

    def state(self) -> Mapping[str, Tensor]:
        """Return `directions` [T, A, K], `variances` [T, A], `totals` [T] and the network's parameters."""
        axes = {name: getattr(self, name) for name in _AXES}
        return axes | {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over axes and parameters, in eval mode."""
        for name in _AXES:
            getattr(self, name).copy_(state[name])
        ours = {name.removeprefix("network."): tensor for name, tensor in state.items() if "." in name}
        self.network.load_state_dict(ours)
        self.network.eval()

    def _encode(self, rows: Callable[[Columns], Tensor]) -> Tensor:
        network = self.network
        windows = network.windowed(self._coordinates(rows).to(self.device))
        return network.joined(network.encode(windows)).flatten(1)

    def _decode(self, latents: Tensor) -> Tensor:
        """Map latents [B, Z] to coordinates [B, T, A], on the CPU."""
        codes = latents.to(self.device).reshape(len(latents), len(self.tokens), -1)
        return self.network.joined(self.network.decode(self.network.windowed(codes))).cpu()

    def _coordinates(self, rows: Callable[[Columns], Tensor]) -> Tensor:
        """Return the coordinates [B, T, A] of rows, given by their columns; their std over members is 1."""
        found = []
        for place, (token, block) in enumerate(self._blocks()):
            mean, variances = block.mean(dim=0), self.variances[place]
            axes = self.directions[place] @ (block - mean)  # [A, w], of length the std
            along = (rows((token.begin, token.end)) - mean) @ axes.T
            found.append(along / torch.where(variances > 0, variances, 1.0))
        return torch.stack(found, dim=1)

    def _columns(self, view: View) -> Callable[[Columns], Tensor]:
        """Return what gathers normalised columns of a view's rows."""
        return lambda columns: view.batch(range(len(view)), self.normalizer, columns=columns)

    def _blocks(self) -> Iterator[tuple[Token, Tensor]]:
        """Yield each token with the members' normalised numbers there [K, w]."""
        everyone, read, end = range(len(self.members)), torch.empty(0, 0), 0
        for token in self.tokens:
            if token.end > end:
                begin, width = token.begin, max(_BLOCK // len(everyone), token.end - token.begin)
                end = max(each.end for each in self.tokens if each.end <= begin + width)
                read = self.members.batch(everyone, self.normalizer, columns=(begin, end))
            yield token, read[:, token.begin - begin : token.end - begin]


def cut(layout: Layout, size: int) -> list[Token]:
    """Cut the tensors of a row into nearly equal pieces of up to `size` numbers, in order."""
    found = []
    for tensor, segment in enumerate(layout.segments):
        length = segment.end - segment.begin
        for piece, part in enumerate(pieces(length, size)):
            found.append(Token(segment.begin + part.start, segment.begin + part.stop, tensor, piece))
    return found


def principal_axes(block: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return up to `count` principal axes of rows [K, w], the variances along them, and that in all.

    Axes are combinations [A, K] of the centred rows, times the standard deviation along them.
    """
    centred = block - block.mean(dim=0)
    products = (centred @ centred.T).double()
    values, vectors = torch.linalg.eigh(products)  # ascending
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    used = int((values[: len(block) - 1] > TOLERANCE * values[0].clamp(min=0)).sum())
    scale = len(block)
    return vectors[:, :used].T / scale**0.5, values[:used] / scale, products.trace() / scale
