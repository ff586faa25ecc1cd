"""ESR with an inference of a tenth of a second, as on a weak machine or with a heavy model; `benchmarks.ros2_node` registers it."""

from __future__ import annotations

import time
from typing import Any

from emotion_perception.engine.data import Color
from emotion_perception.engine.target import Emotions
from emotion_perception.learners.esr.learner import FacialEmotionLearner

INFER_S = 0.1


class SlowLearner(FacialEmotionLearner):
    """Judges as ESR does, then sleeps until `INFER_S` is over; like a network that runs, sleep lets other threads work."""

    def infer(self, batch: Any, color: Color = "rgb") -> Emotions:
        """Judges one input or a batch, slowly; arguments, result and errors are those of `Learner.infer`."""
        end_s = time.perf_counter() + INFER_S
        emotions = super().infer(batch, color)
        time.sleep(max(0.0, end_s - time.perf_counter()))
        return emotions
