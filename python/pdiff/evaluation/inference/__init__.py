"""Predictions of many models of one bank on a split of a task, computed once and cached."""

from pdiff.evaluation.inference.predictions import Prediction, Predictions
from pdiff.evaluation.inference.predictor import Predictor

__all__ = ["Prediction", "Predictions", "Predictor"]
