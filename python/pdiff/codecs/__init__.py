"""Codecs: from a normalised row of D numbers to a latent of Z and back."""

from pdiff.codecs.base import Codec
from pdiff.codecs.conv import ConvCodec
from pdiff.codecs.pca import PcaCodec, fit_pca

__all__ = ["Codec", "ConvCodec", "PcaCodec", "fit_pca"]
