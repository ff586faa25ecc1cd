"""MobileNetV2 as trained on AffectNet: emotion, valence and arousal in faces, small enough for a Jetson Nano."""

from emotion_perception.learners.mobilenetv2_affectnet.learner import MobileNetV2Learner

__all__ = ["MobileNetV2Learner"]
