"""EmoTx: emotions and mental states in clips, of the scene and of each character, from what is seen, who is seen and what is said."""

from emotion_perception.learners.emotx.learner import EmoTxLearner

__all__ = ["EmoTxLearner"]
