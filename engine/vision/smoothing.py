"""Probabilities and affect smoothed per face, by time and not by frame count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.target import FloatArray


@dataclass
class _State:
    probabilities: NDArray[np.float64]
    affect: NDArray[np.float64] | None
    seen_s: float


class Smoother:
    """Smooths exponentially: after ``dt`` seconds the past weighs ``exp(-dt / time_constant_s)``.

    The answer follows time, not frames: at 10 or 60 frames a second a change of expression takes equally long. Results stay within
    the range of what went in, and probabilities that sum to 1 still do. One smoother belongs to one stream and one thread.
    """

    def __init__(self, time_constant_s: float = 0.3, memory_s: float = 1.0) -> None:
        """Makes a smoother without a past.

        Args:
            time_constant_s: Seconds after which 63 % of a change show; 0 switches smoothing off.
            memory_s: Seconds after which the past of an unseen face is forgotten.
        """
        for name, value in (("time_constant_s", time_constant_s), ("memory_s", memory_s)):
            if not 0.0 <= value < math.inf:
                raise UsageError(f"{name} is {value}, expected 0 or more seconds")
        self.time_constant_s = time_constant_s
        self.memory_s = memory_s
        self.reset()

    def reset(self) -> None:
        """Forgets the past of all faces."""
        self._states: dict[int, _State] = {}
        self._now_s = -math.inf

    def update(
        self, track_id: int, probabilities: FloatArray, affect: FloatArray | None, stamp_s: float
    ) -> tuple[FloatArray, FloatArray | None]:
        """Takes what was judged for one face in one frame and returns the smoothed values.

        Args:
            track_id: The face's id.
            probabilities: ``(classes,)`` float32.
            affect: ``(2,)`` float32 [valence, arousal] in [-1, 1], or None.
            stamp_s: When the frame was taken, in seconds. A stamp before the last one means that the stream started again:
                everything is forgotten.

        Returns:
            Probabilities and affect, newly allocated, of the same shapes and type.
        """
        if stamp_s < self._now_s:
            self.reset()
        if stamp_s > self._now_s:
            self._now_s = stamp_s
            self._states = {i: state for i, state in self._states.items() if stamp_s - state.seen_s <= self.memory_s}
        # The state is kept in double precision, or rounding would pile up over hours.
        now = _State(probabilities.astype(np.float64), None if affect is None else affect.astype(np.float64), stamp_s)
        before = self._states.get(track_id)
        if before is not None and self.time_constant_s > 0.0:
            weight = math.exp(-(stamp_s - before.seen_s) / self.time_constant_s)
            now.probabilities += weight * (before.probabilities - now.probabilities)
            if now.affect is not None and before.affect is not None:
                now.affect += weight * (before.affect - now.affect)
        self._states[track_id] = now
        return now.probabilities.astype(np.float32), None if now.affect is None else now.affect.astype(np.float32)
