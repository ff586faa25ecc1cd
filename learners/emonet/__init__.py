"""EmoNet of Kragel et al. 2019: what a whole scene makes people feel, in twenty classes."""

from emotion_perception.learners.emonet.learner import EmoNetLearner

__all__ = ["EmoNetLearner"]
