"""Diffusion and flow matching over latents; knows nothing of checkpoints or codecs."""

from pdiff.diffusion.denoisers import build_denoiser
from pdiff.diffusion.process import Process, build_process

__all__ = ["Process", "build_denoiser", "build_process"]
