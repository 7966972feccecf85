"""What a generator has to beat: models that need no learning, only the bank.

Every family returns raw rows [n, D] f32, new memory each time, and row i depends on (seed, family, i)
alone: at every strength it goes the same way from the same place, so that a sweep draws a curve. Noise is
added where the bank's normaliser puts `running_var` in log space, so variances stay positive. The families
are those of *Generative Modeling of Weights: Generalization or Memorization?* (arXiv 2506.07998).
"""

from pdiff.evaluation.baselines.gaussians import PcaGaussian, gaussian
from pdiff.evaluation.baselines.mixtures import average, ensemble, interpolation
from pdiff.evaluation.baselines.noise import MeanNoise, noise, noise_scales
from pdiff.evaluation.baselines.sweeps import baseline_populations

__all__ = [
    "MeanNoise",
    "PcaGaussian",
    "average",
    "baseline_populations",
    "ensemble",
    "gaussian",
    "interpolation",
    "noise",
    "noise_scales",
]
