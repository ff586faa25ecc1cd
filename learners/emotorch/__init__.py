"""EmoTorch: four emotions in small grey faces, from a network whose fairness was audited."""

from emotion_perception.learners.emotorch.learner import EmoTorchLearner

__all__ = ["EmoTorchLearner"]
