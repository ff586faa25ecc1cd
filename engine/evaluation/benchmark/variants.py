"""The ways to run a learner that the benchmark compares: its reference, and back ends in several precisions."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_perception.engine.errors import UsageError, unknown_name
from emotion_perception.engine.registry import learner_class
from emotion_perception.engine.target import Emotions, FloatArray
from emotion_perception.engine.weights import EXPORTED_NAME, weight_files

if TYPE_CHECKING:
    from emotion_perception.engine.learners import Learner

REFERENCE = "reference"
BACKENDS = ("torch", "onnxruntime", "tensorrt")
_TORCH_PRECISIONS = ("fp32", "bf16")
# From a batch as the network takes it to an answer, in whatever form.
Runner = Callable[[FloatArray], Any]


@dataclass(frozen=True)
class Variant:
    """One way to run a learner; plain words, so that another process can be told.

    Attributes:
        learner: Registered name.
        folder: Weights, with the exported model where ONNX Runtime is to run it.
        backend: ``reference``, ``torch``, ``onnxruntime`` or ``tensorrt``.
        precision: ``fp32``, ``fp16`` or ``int8``; for torch ``fp32`` or ``bf16``.
        confidence: Of the anytime ensemble; None where all of the network is run.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    learner: str
    folder: str
    backend: str
    precision: str = "fp32"
    confidence: float | None = None
    device: str = "auto"

    @property
    def name(self) -> str:
        """What it is, for people: ``reference``, ``torch fp32``, ``onnxruntime int8 anytime 0.99``."""
        if self.backend == REFERENCE:
            return REFERENCE
        return f"{self.backend} {self.precision}" + ("" if self.confidence is None else f" anytime {self.confidence:g}")

    @property
    def exported(self) -> bool:
        """Whether an exported model is run, which torch has no part in."""
        return self.backend not in (REFERENCE, "torch")

    @property
    def bytes(self) -> int:
        """Size of the files that are read to run it."""
        if self.exported:
            return (Path(self.folder) / EXPORTED_NAME).stat().st_size
        return sum(file.stat().st_size for file in weight_files(Path(self.folder)))

    def load(self, batch_size: int = 32) -> Learner:
        """Makes the learner and loads it.

        Args:
            batch_size: Most inputs in one pass.

        Raises:
            UsageError: A GPU or TensorRT was asked for, and this back end cannot use it here.
        """
        own: dict[str, Any] = {} if self.confidence is None else {"confidence": self.confidence}
        backend = "torch" if self.backend == REFERENCE else self.backend
        backend += "_bf16" if self.precision == "bf16" else ""
        learner = learner_class(self.learner)(device=self.device, backend=backend, batch_size=batch_size, **own)
        learner.load(self.folder)
        runs_on = learner.backend_name.split()
        if self.backend == "tensorrt" and "tensorrt" not in runs_on:
            raise UsageError("ONNX Runtime cannot load TensorRT here; install TensorRT's libraries, or leave tensorrt out of --backends")
        if self.device == "cuda" and "cpu" in runs_on:
            raise UsageError(
                f"device 'cuda' was asked for, but {backend} has no usable GPU here; install its build for GPUs, or give --device cpu"
            )
        return learner

    def runner(self, learner: Learner) -> Runner:
        """Returns what is measured, from what `load` returned: a function from a batch to the final answer."""
        if self.backend == REFERENCE:
            return learner.reference() or _plain(learner)
        return lambda x: judged(learner, x)


def judged(learner: Learner, x: FloatArray) -> Emotions:
    """Judges a batch that is in the form the network takes."""
    return learner.emotions(learner.outputs(x))


def prepare(
    learner: str,
    weights: Path | None,
    scratch: Path,
    *,
    backends: Sequence[str] = ("torch", "onnxruntime"),
    precisions: Sequence[str] = ("fp32", "int8"),
    confidence: float | None = None,
    reference: bool = True,
    input_size: int | None = None,
    device: str = "auto",
) -> list[Variant]:
    """Makes the variants, and the files they need.

    A model that was exported beside the weights is taken as it is, so that on a machine without torch its folder can be measured; in
    another precision or for another input size the network is exported anew.

    Args:
        learner: Registered name.
        weights: Folder of weights; those that come with the learner if None.
        scratch: An empty folder for the files; it must stay as long as the variants are used.
        backends: Some of ``torch``, ``onnxruntime`` and ``tensorrt``.
        precisions: Some of ``fp32``, ``bf16`` (torch), ``fp16`` and ``int8`` (exported); a back end leaves out what it cannot.
        confidence: Adds the anytime ensemble to each, with this confidence.
        reference: Whether to put the reference first.
        input_size: Side of the network's input in pixels instead of what the card says.
        device: Where they run.

    Raises:
        UsageError: Unknown learner, back end or precision; weights, or an ensemble, that the learner has not; nothing left to measure.
        WeightsError: The weights cannot be read, or not be optimised within the tolerance.
    """
    from emotion_perception.engine.inference.metadata import PRECISIONS

    cls = learner_class(learner)
    known_precisions = dict.fromkeys([*_TORCH_PRECISIONS, *PRECISIONS])
    for kind, given, known in (("back end", backends, BACKENDS), ("precision", precisions, known_precisions)):
        for name in given:
            if name not in known:
                raise unknown_name(kind, name, known)
    if confidence is not None and "confidence" not in inspect.signature(cls).parameters:
        raise UsageError(f"{learner!r} has no anytime ensemble, confidence {confidence:g} means nothing to it; leave --confidence out")
    source = _Source(cls, weights, scratch, input_size, device)
    found = [Variant(learner, str(source.folder), REFERENCE, device=device)] if reference else []
    for backend in dict.fromkeys(backends):
        for precision in dict.fromkeys(precisions):
            if precision not in (_TORCH_PRECISIONS if backend == "torch" else PRECISIONS):
                continue
            folder = source.folder if backend == "torch" else source.exported(precision)
            for wanted in dict.fromkeys((None, confidence)):
                found.append(Variant(learner, str(folder), backend, precision, wanted, device))
    if all(variant.backend == REFERENCE for variant in found):
        there = f"torch computes in {' and '.join(_TORCH_PRECISIONS)}, the others in {', '.join(PRECISIONS)}"
        raise UsageError(f"nothing to measure: {there}; got {', '.join(backends)} and {', '.join(precisions)}")
    return found


class _Source:
    """The weights that all variants are made from."""

    def __init__(self, cls: type[Learner], weights: Path | None, scratch: Path, input_size: int | None, device: str) -> None:
        if weights is None and cls.default_weights is None:
            raise UsageError(f"learner {cls.card.learner!r} has no default weights; give --weights DIR")
        self._cls, self._scratch, self._device = cls, scratch, device
        self._learner: Learner | None = None
        self.folder = Path(weights or cls.default_weights or "")
        if input_size is not None:
            learner = self._loaded()
            learner.card = learner.card.with_(input=replace(learner.card.input, height=input_size, width=input_size))
            self.folder = learner.save(scratch / "weights")
            (self.folder / EXPORTED_NAME).unlink(missing_ok=True)  # of the size that the weights came with

    def exported(self, precision: str) -> Path:
        """Returns a folder with the weights' export in a precision."""
        from emotion_perception.engine.inference import OnnxBackend

        there = self.folder / EXPORTED_NAME
        if there.is_file() and OnnxBackend(there, self._cls.output_names, self._device, self._cls.card.learner).precision == precision:
            return self.folder
        learner = self._loaded()
        learner.temp_path = self._scratch / f"export-{precision}"
        learner.optimize(precision=precision)
        return learner.save(self._scratch / precision)

    def _loaded(self) -> Learner:
        if self._learner is None:
            self._learner = self._cls(backend="torch", device=self._device)
            self._learner.load(self.folder)
        return self._learner


def _plain(learner: Learner) -> Runner:
    """Returns a learner's network as it is, eager and in the contiguous layout."""
    import torch

    device = learner.torch_device()
    model = copy.deepcopy(learner.model).to(device).to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]  # as in `TorchBackend`

    def run(x: FloatArray) -> list[Any]:
        with torch.inference_mode():
            outputs = model(torch.tensor(x, device=device))
            return [output.cpu().numpy() for output in outputs]

    return run
