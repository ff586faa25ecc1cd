"""Makes the fastest file of a learner's network that still gives its answers, and reports how near they are."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.errors import WeightsError, check_words
from emotion_perception.engine.inference.backends import Backend, rows, run_batches
from emotion_perception.engine.inference.calibration import Calibration, calibration_set
from emotion_perception.engine.inference.choice import measure
from emotion_perception.engine.inference.export import export_onnx
from emotion_perception.engine.inference.metadata import PRECISIONS
from emotion_perception.engine.inference.onnx_backend import OnnxBackend
from emotion_perception.engine.inference.parity import TOLERANCES, Tolerance, broken, parity, report_beside
from emotion_perception.engine.inference.quantization import Int8, to_half
from emotion_perception.engine.inference.torch_backend import TorchBackend
from emotion_perception.engine.storage import atomic_write
from emotion_perception.engine.target import Emotions

if TYPE_CHECKING:
    import torch

    from emotion_perception.engine.learners import Learner

logger = logging.getLogger(__name__)

# Inputs per layer in the search for the layers to blame.
_FOR_BLAME = 8


def optimize(
    learner: Learner,
    file: Path,
    *,
    device: str,
    precision: str,
    do_constant_folding: bool = True,
    calibration: Any = None,
    score: Callable[[Backend], Mapping[str, Any]] | None = None,
    tolerance: Tolerance | None = None,
) -> OnnxBackend:
    """Writes an optimised file and the report on it, or neither.

    Args:
        learner: With weights; it is not changed.
        file: Where the file goes; the report goes beside it, see `report_beside`.
        device: ``auto``, ``cpu`` or ``cuda``: where the file is checked and will run.
        precision: ``fp32``, ``fp16`` or ``int8``.
        do_constant_folding: For fp32 and fp16; int8 cannot do without.
        calibration: As `calibration_set` takes it.
        score: Measures the learner on labelled data, run by a given back end; named numbers, those with ``accuracy`` are compared.
        tolerance: How far the answers may be off; that of the precision in `TOLERANCES` if None.

    Returns:
        What runs the file.

    Raises:
        UsageError: Another precision; int8 without calibration.
        WeightsError: The tolerance cannot be held.
    """
    check_words("precision", precision, PRECISIONS)
    started = time.monotonic()
    network = learner.model
    inputs = calibration_set(learner, calibration, needed=precision == "int8")
    tolerance = tolerance or TOLERANCES[precision]
    work = _Work(learner, device, precision, inputs, tolerance)
    with TemporaryDirectory(prefix="emotion_perception.") as folder:
        scratch = Path(folder)
        module = learner.deployed(network)
        logger.info("%s: exporting to ONNX", learner.name)
        folded = do_constant_folding or precision == "int8"
        ends: dict[str, Any] = {"input_names": learner.input_names, "example": learner.example}
        whole = export_onnx(module, scratch / "fp32.onnx", learner.card, learner.output_names, folded, **ends)
        full = work.opened(whole)
        reference = _torch(module, learner) if precision == "fp32" else full
        made, layers = work.made(whole, reference, scratch)
        candidate = work.opened(made)
        check = {"source": inputs.source, **work.checked(candidate, reference)}
        work.refuse(broken(check, tolerance))
        milliseconds = measure({_label(reference): reference, _label(candidate): candidate}, learner.example(1))
        report = {
            "learner": learner.name,
            "title": learner.card.title,
            "precision": precision,
            "runs_on": candidate.name,
            "bytes": made.stat().st_size,
            "fp32_bytes": whole.stat().st_size,
            "layers": layers,
            "calibration": {"source": inputs.source, "pictures": len(inputs.ranges[0])} if precision == "int8" else None,
            "check": check,
            "labelled": None if score is None else work.compared(score, candidate, reference),
            "tolerance": asdict(tolerance),
            "milliseconds": {name: round(value, 3) for name, value in milliseconds.items()},
            "notes": _notes(precision, milliseconds),
            "seconds": round(time.monotonic() - started, 1),
        }
        with atomic_write(file) as model_part, atomic_write(report_beside(file)) as report_part:
            shutil.copyfile(made, model_part)
            report_part.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return work.opened(file)


class _Work:
    """What all steps need to know."""

    def __init__(self, learner: Learner, device: str, precision: str, inputs: Calibration, tolerance: Tolerance) -> None:
        self.learner, self.device, self.precision, self.inputs, self.tolerance = learner, device, precision, inputs, tolerance

    def opened(self, file: Path) -> OnnxBackend:
        return OnnxBackend(file, self.learner.output_names, self.device, self.learner.name, self.learner.input_names)

    def made(self, whole: Path, reference: Backend, scratch: Path) -> tuple[Path, dict[str, Any] | None]:
        """Returns the file in the precision wanted and, for int8, what became of the layers."""
        made = scratch / f"{self.precision}.onnx"
        if self.precision == "fp32":
            return whole, None
        logger.info("%s: converting to %s", self.learner.name, self.precision)
        if self.precision == "fp16":
            made.write_bytes(to_half(whole))
            return made, None
        int8 = Int8(whole, self.inputs.ranges, scratch)
        made.write_bytes(int8.content())
        kept = self._blamed(int8, made, reference, scratch)
        reasons = [{"layer": int8.layers[node], "why": f"alone in int8 it changes an output by {change:.1%}"} for node, change in kept]
        return made, {"int8": len(int8.layers) - len(kept), "kept_in_fp32": reasons}

    def _blamed(self, int8: Int8, made: Path, reference: Backend, scratch: Path) -> list[tuple[str, float]]:
        """Makes the file again with the most sensitive layers in fp32, until the tolerance holds; returns them with their sensitivity."""
        problem = broken(self.checked(self.opened(made), reference), self.tolerance)
        if not problem:
            return []
        logger.info("%s: %s; looking for the layers to blame, one of %d after the other", self.learner.name, problem, len(int8.layers))
        few = rows(self.inputs.check, slice(_FOR_BLAME))
        ranking = sorted(
            int8.sensitivity(reference, few, scratch, tuple(self.learner.output_names)), key=lambda entry: entry[1], reverse=True
        )
        # Twice as many at each try: a try takes seconds. With more than half of the layers in fp32 the file is hardly faster.
        count = 1
        while count <= max(len(ranking) // 2, 1) and len(ranking) > 1:
            made.write_bytes(int8.content([node for node, _ in ranking[:count]]))
            problem = broken(self.checked(self.opened(made), reference), self.tolerance)
            if not problem:
                return ranking[:count]
            count *= 2
        self.refuse(f"{problem}, even with {count // 2} of {len(ranking)} layers in fp32")
        raise AssertionError("unreachable")

    def checked(self, actual: Backend, expected: Backend) -> dict[str, Any]:
        """Compares two back ends on the inputs for the check."""
        return parity(self._judged(actual), self._judged(expected))

    def _judged(self, backend: Backend) -> Emotions:
        return self.learner.emotions(run_batches(backend, self.inputs.check, self.learner.batch_size, self.learner.output_names))

    def compared(self, score: Callable[[Backend], Mapping[str, Any]], candidate: Backend, reference: Backend) -> dict[str, Any]:
        """Measures both on labelled pictures and refuses a loss beyond the tolerance."""
        scores = {}
        for name, backend in (("before", reference), ("after", candidate)):
            logger.info("%s: measuring %s on labelled pictures", self.learner.name, _label(backend))
            scores[name] = {key: value for key, value in score(backend).items() if isinstance(value, (int, float))}
        if "accuracy" in scores["before"]:
            before, after = (100.0 * scores[name]["accuracy"] for name in ("before", "after"))
            if not before - after <= self.tolerance.accuracy_points:
                limit = f"expected a loss of at most {self.tolerance.accuracy_points:g} points"
                pictures = f"{scores['before']['pictures']} labelled pictures"
                self.refuse(f"accuracy on {pictures} falls from {before:.2f} to {after:.2f} %, {limit}")
        return scores

    def refuse(self, problem: str) -> None:
        """Raises `WeightsError` where there is a problem."""
        if problem:
            way_out = "allow more with tolerance" if self.precision == "fp32" else "use precision fp32, or other calibration pictures"
            raise WeightsError(f"{self.learner.name!r} in {self.precision} is not kept: {problem}; {way_out}")


def _torch(module: torch.nn.Module, learner: Learner) -> TorchBackend:
    return TorchBackend(module, learner.output_names, learner.torch_device())


def _label(backend: Backend) -> str:
    return f"{backend.name} fp32" if getattr(backend, "precision", "") == "fp32" else backend.name


def _notes(precision: str, milliseconds: Mapping[str, float]) -> list[str]:
    before, after = milliseconds.values()
    if precision == "fp32" or after < 0.95 * before:
        return []
    return [f"{precision} is not faster here: {after:.1f} ms for one input, {before:.1f} before; it saves space"]
