"""Predictions of many models of one bank on a split of a task, computed once and cached."""

from pdiff.evaluation.inference.prediction import Prediction
from pdiff.evaluation.inference.predictions import Predictions, predict_population
from pdiff.evaluation.inference.predictor import Predictor

__all__ = ["Prediction", "Predictions", "Predictor", "predict_population"]
