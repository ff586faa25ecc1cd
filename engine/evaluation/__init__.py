"""Measuring learners: metrics, and reports of them."""

from emotion_perception.engine.evaluation.measuring import measure, measure_videos, outputs_over
from emotion_perception.engine.evaluation.metrics import affect_metrics, classification_metrics

__all__ = ["affect_metrics", "classification_metrics", "measure", "measure_videos", "outputs_over"]
