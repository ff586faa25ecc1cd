"""The published configuration, typed: its keys, what must hold between them, and files of it."""

from emotion_perception.learners.emotx.settings.settings import FeatureInfo, Settings

__all__ = ["FeatureInfo", "Settings"]
