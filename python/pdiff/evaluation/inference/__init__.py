"""Predict with many models of one bank on a split of a task, once, and cache what they predict."""

from pdiff.evaluation.inference.predictions import Prediction, Predictions
from pdiff.evaluation.inference.predictor import Predictor

__all__ = ["Prediction", "Predictions", "Predictor"]
