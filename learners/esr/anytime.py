"""The anytime ensemble: branches are evaluated in groups, and only as long as they may change the answer and there is time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.target import FloatArray
from emotion_perception.learners.esr.ensemble import ensemble_of, is_decided

if TYPE_CHECKING:
    from emotion_perception.engine.inference import Backend

# From an array of n rows to arrays of n rows.
Part = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]

_STACKED = ("logits", "branch_affect")
# Of the time of one branch, the latest measurement counts for so much.
_NEWEST = 0.3


class AnytimeEnsemble:
    """A back end that evaluates an ensemble's branches group by group.

    After each group, faces whose class is decided (`is_decided`) leave the batch, so that a batch gives what its faces give alone. With a
    budget it stops before a group that would probably end too late; the first group always runs. What is answered then depends on how
    busy the machine is: under a budget, results cannot be reproduced.

    Attributes:
        name: What runs the pieces and where, as in `Backend`.
    """

    def __init__(
        self,
        shared: Part,
        groups: Sequence[Part],
        sizes: Sequence[int],
        name: str,
        confidence: float | None = None,
        budget_ms: float | None = None,
        voting: str = "probability",
    ) -> None:
        """Puts the pieces together.

        Args:
            shared: From pictures to the features that all branches take, the only array in what it returns.
            groups: From features to logits ``(n, size, 8)`` and affect ``(n, size, 2)`` of each group's branches.
            sizes: Number of branches in each group.
            name: What runs the pieces.
            confidence: From above 0.5 to 1, as `is_decided` takes it; None evaluates all branches that there is time for.
            budget_ms: Milliseconds for one call, with all its faces; None is no limit.
            voting: ``probability`` or ``plurality``.
        """
        self.name = name
        self._shared, self._groups, self._sizes = shared, list(zip(groups, sizes, strict=True)), tuple(sizes)
        self._confidence, self._budget_ms, self._voting = confidence, budget_ms, voting
        self._branch_ms: dict[int, float] = {}  # of one branch, by the number of faces

    def __call__(self, *inputs: NDArray[Any]) -> dict[str, FloatArray]:
        """Judges faces, of which a network takes one array; see `Backend`.

        Returns:
            ``probabilities`` (n, 8) and ``affect`` (n, 2), means over the branches evaluated; ``logits`` (n, branches, 8) and
            ``branch_affect`` (n, branches, 2), NaN for those that were not.
        """
        from emotion_perception.engine.inference.backends import check_layout

        check_layout(inputs)
        (x,) = inputs
        started = time.perf_counter()
        total, done = sum(self._sizes), 0
        rows = np.arange(len(x))
        (features,) = self._shared(x)
        outputs: list[FloatArray] = []
        for group, size in self._groups:
            begun = time.perf_counter()
            if done and self._is_late((begun - started) * 1e3, len(rows), size):
                break
            answers = group(features)
            self._learn((time.perf_counter() - begun) * 1e3, len(rows), size)
            if not outputs:
                outputs = [np.full((len(x), total, answer.shape[2]), np.nan, np.float32) for answer in answers]
            for output, answer in zip(outputs, answers, strict=True):
                output[rows, done : done + size] = answer
            done += size
            if self._confidence is not None and done < total:
                undecided = ~is_decided(outputs[0][rows, :done], total, self._confidence, self._voting)
                if not undecided.any():
                    break
                rows, features = rows[undecided], features[undecided]
        return ensemble_of(*outputs)

    def _is_late(self, passed_ms: float, count: int, size: int) -> bool:
        """Says whether a group of branches would probably end after the budget."""
        if self._budget_ms is None:
            return False
        # Fewer faces take no longer; and the first group of this very call has measured the full batch, so a slow one is soon forgotten.
        branch_ms = min(ms for known, ms in list(self._branch_ms.items()) if known >= count)
        return passed_ms + size * branch_ms > self._budget_ms

    def _learn(self, ms: float, count: int, size: int) -> None:
        """Notes how long a group took."""
        now = ms / size
        self._branch_ms[count] = now + (1.0 - _NEWEST) * (self._branch_ms.get(count, now) - now)


class Anytime:
    """Makes a learner's anytime ensemble when it is first needed: its back end and its settings may change at any time."""

    def __init__(self) -> None:
        """Makes nothing yet."""
        self._lock = threading.Lock()
        self._whole: Backend | None = None
        self._pieces: tuple[Part, Sequence[Part]] | None = None  # of that one
        self._ensembles: dict[tuple[Any, ...], AnytimeEnsemble] = {}  # of those

    def around(
        self, whole: Backend, branches: int, confidence: float | None, budget_ms: float | None, voting: str = "probability"
    ) -> AnytimeEnsemble:
        """Returns the anytime ensemble for a back end that runs all branches at once.

        Args:
            whole: Runs ESR in torch, or an export of it by ONNX Runtime, in any precision.
            branches: How many it has.
            confidence: See `AnytimeEnsemble`.
            budget_ms: See `AnytimeEnsemble`.
            voting: See `AnytimeEnsemble`.

        Raises:
            UsageError: Another back end, or a setting out of range.
            WeightsError: The exported file cannot be cut.
        """
        check_limits(confidence, budget_ms)
        sizes = group_sizes(branches)
        with self._lock:
            if self._pieces is None or self._whole is not whole:
                self._whole, self._pieces, self._ensembles = whole, _parts(whole, sizes), {}
            settings = confidence, budget_ms, voting
            if settings not in self._ensembles:
                self._ensembles[settings] = AnytimeEnsemble(*self._pieces, sizes, whole.name, confidence, budget_ms, voting)
            return self._ensembles[settings]


def check_limits(confidence: float | None, budget_ms: float | None) -> None:
    """Refuses a confidence that is not above 0.5 and at most 1, and a budget that is not above 0; None is no limit."""
    if confidence is not None and not 0.5 < confidence <= 1.0:
        raise UsageError(f"confidence is {confidence}, expected above 0.5 and at most 1, as 0.99, or None to evaluate all branches")
    if budget_ms is not None and not budget_ms > 0.0:
        raise UsageError(f"budget_ms is {budget_ms}, expected milliseconds above 0, or None for no limit")


def group_sizes(branches: int) -> tuple[int, ...]:
    """Returns how many branches are evaluated before each look: 1, 2, then 3 at a time.

    On most faces the first branch is enough. On FER+'s validation part with a confidence of 0.99, single branches all through
    would spare a tenth of a branch per face more, which their looks cost.
    """
    sizes: list[int] = []
    while sum(sizes) < branches:
        sizes.append(min(len(sizes) + 1, 3, branches - sum(sizes)))
    return tuple(sizes)


def _parts(whole: Backend, sizes: Sequence[int]) -> tuple[Part, Sequence[Part]]:
    """Returns the shared layers and groups of branches, to be run as ``whole`` is."""
    from emotion_perception.engine.inference import OnnxBackend, TorchBackend

    if isinstance(whole, OnnxBackend):
        from emotion_perception.engine.inference.parts import cut

        return cut(whole, _STACKED, sizes)
    if not isinstance(whole, TorchBackend):
        raise UsageError(f"the anytime ensemble takes a back end in torch or ONNX Runtime, got {type(whole).__name__}")
    from emotion_perception.learners.esr.torch_parts import BranchesPart, SharedPart

    network = whole.model
    device = next(network.parameters()).device

    def part(names: Sequence[str], make: Callable[[Any], Any]) -> Part:
        backend = TorchBackend(network, names, device, make, whole.bf16)  # follows the network when it is trained further
        return lambda x: list(backend(x).values())

    ends = np.cumsum(sizes).tolist()
    members = [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    groups = [part(_STACKED, partial(BranchesPart, members=group)) for group in members]
    return part(("features",), SharedPart), groups
