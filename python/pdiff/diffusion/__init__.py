"""Model the distribution of latents by diffusion or flow matching, without knowing what they are of."""

from pdiff.diffusion.denoisers import build_denoiser
from pdiff.diffusion.process import Process

__all__ = ["Process", "build_denoiser"]
