"""Model the distribution of latents by diffusion or flow matching, without knowing what they are of."""

from pdiff.diffusion.denoisers import ConvDenoiser, MlpDenoiser, build_denoiser
from pdiff.diffusion.process import Process, build_process

__all__ = ["ConvDenoiser", "MlpDenoiser", "Process", "build_denoiser", "build_process"]
