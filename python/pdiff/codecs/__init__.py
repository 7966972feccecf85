"""Map normalised rows of D numbers to latents of Z and back, one codec a file."""

import torch

from pdiff.bank import View
from pdiff.bank.rows import Normalization
from pdiff.codecs.base import Codec
from pdiff.codecs.conv import ConvCodec
from pdiff.codecs.identity import IdentityCodec
from pdiff.codecs.pca import PcaCodec
from pdiff.codecs.token import TokenCodec
from pdiff.common.config import AnyCodecConfig, ConvCodecConfig, PcaCodecConfig, TokenCodecConfig

__all__ = ["Codec", "build_codec"]


def build_codec(
    config: AnyCodecConfig, members: View, kind: Normalization, seed: int, device: torch.device
) -> Codec:
    """Return a codec, not fitted yet, of the members' rows normalised by `kind`; networks are on `device`."""
    match config:
        case ConvCodecConfig():
            return ConvCodec(members, kind, config, seed, device)
        case PcaCodecConfig():
            return PcaCodec(members, kind, config.latent_dim)
        case TokenCodecConfig():
            return TokenCodec(members, kind, config, seed, device)
        case _:
            return IdentityCodec(members, kind)
