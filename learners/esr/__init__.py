"""ESR: emotion, valence and arousal in faces, from an ensemble with shared representations."""

from emotion_perception.learners.esr.learner import FacialEmotionLearner

__all__ = ["FacialEmotionLearner"]
