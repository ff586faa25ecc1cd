"""What runs a network: torch, or ONNX Runtime, which needs no torch. Both are called with an array and answer with named arrays."""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.data import describe
from emotion_perception.engine.errors import InputError, MissingDependencyError, UsageError, WeightsError
from emotion_perception.engine.target import FloatArray

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

INPUT_NAME = "images"
CARD_KEY = "emotion_perception.card"


@runtime_checkable
class Backend(Protocol):
    """A network that is ready to run. Several threads may call it at once.

    Attributes:
        name: What runs the network and where, for people: ``torch cpu``, ``onnxruntime cpu``.
    """

    name: str

    def __call__(self, x: FloatArray) -> dict[str, FloatArray]:
        """Runs the network.

        Args:
            x: ``(n, channels, height, width)`` float32, as the card's input says.

        Returns:
            Float32 arrays with n rows each, by output name.

        Raises:
            InputError: ``x`` does not fit the network.
        """


class TorchBackend:
    """Runs a torch module in evaluation mode, without gradients.

    Attributes:
        name: ``torch cpu`` or ``torch cuda:<index>``.
        model: The module, shared with the caller: trained further, it answers with its new weights.
    """

    def __init__(self, model: torch.nn.Module, output_names: Sequence[str], device: torch.device | str = "cpu") -> None:
        """Moves the module to the device and into evaluation mode.

        Args:
            model: Returns a tuple of tensors, in the order of ``output_names``.
            output_names: Names of its outputs.
            device: Where it runs.
        """
        import torch

        self._device = torch.device(device)
        self._output_names = tuple(output_names)
        self.model = model.to(self._device).eval()
        if self._device.type == "cpu":
            # Channels-last weights make oneDNN keep activations in that layout: a fifth less time for a network of ESR-9's size on one core
            # (92 -> 74 ms); converting the input as well adds nothing. Who saves such weights must make them contiguous first.
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # documented, but missing in torch's overloads
        self.name = f"torch {self._device}"

    def __call__(self, x: FloatArray) -> dict[str, FloatArray]:
        """Runs the module; see `Backend`."""
        import torch

        _check_layout(x)
        # Whoever trains the module between two calls leaves it in training mode, where batch norm answers by the batch.
        if any(module.training for module in self.model.modules()):
            self.model.eval()
        with torch.inference_mode():
            outputs = self.model(torch.tensor(x, dtype=torch.float32, device=self._device))
            if not isinstance(outputs, (tuple, list)) or len(outputs) != len(self._output_names):
                given = f"{len(outputs)} outputs" if isinstance(outputs, (tuple, list)) else describe(outputs)
                expected = f"a tuple of {len(self._output_names)}: {', '.join(self._output_names)}"
                raise WeightsError(f"the network returned {given}, expected {expected}")
            return {name: output.float().cpu().numpy() for name, output in zip(self._output_names, outputs, strict=True)}


class OnnxBackend:
    """Runs an ONNX file written by `export_onnx`, with ONNX Runtime alone.

    Attributes:
        name: ``onnxruntime cpu`` or ``onnxruntime cuda``: where it really runs.
        path: The file.
        card: The model card inside the file.
    """

    def __init__(self, path: str | Path, output_names: Sequence[str], device: str = "auto", learner: str | None = None) -> None:
        """Opens the file.

        Args:
            path: The ONNX file.
            output_names: Outputs to compute, in this order; all must be in the file.
            device: ``cpu``, ``cuda`` or ``auto``; without a usable GPU, ``cuda`` warns and uses the CPU.
            learner: Registered name that the file's card must have; None takes any.

        Raises:
            MissingDependencyError: onnxruntime is not installed.
            WeightsError: The file is missing, truncated, not from `export_onnx`, of another learner or without one of the outputs.
            UsageError: Another device.
        """
        runtime = require("onnxruntime", "running an optimised model")
        self.path = Path(path)
        self._output_names = tuple(output_names)
        providers = choose_providers(device, runtime.get_available_providers())
        self._session = _open(runtime, self.path, providers)
        self.card = _read_card(self._session, self.path)
        if learner is not None and self.card.learner != learner:
            raise WeightsError(
                f"{str(self.path)!r} is a model of {self.card.learner!r}, expected one of {learner!r}; give that learner's file"
            )
        inputs = [entry.name for entry in self._session.get_inputs()]
        if inputs != [INPUT_NAME]:
            raise WeightsError(f"{str(self.path)!r} takes {', '.join(inputs)}, expected {INPUT_NAME}; export it again with optimize()")
        found = sorted(output.name for output in self._session.get_outputs())
        missing = [name for name in self._output_names if name not in found]
        if missing:
            raise WeightsError(
                f"{str(self.path)!r} lacks output {missing[0]!r} (it has {', '.join(found)}); export it again with optimize()"
            )
        self._shape: list[int | str] = self._session.get_inputs()[0].shape
        on_gpu = self._session.get_providers()[0].startswith("CUDA")
        if device == "cuda" and not on_gpu:
            logger.warning("%s: device 'cuda' was asked for but ONNX Runtime has no usable GPU here; using the CPU", self.path.name)
        self.name = f"onnxruntime {'cuda' if on_gpu else 'cpu'}"

    def __call__(self, x: FloatArray) -> dict[str, FloatArray]:
        """Runs the file; see `Backend`."""
        _check_layout(x)
        if any(isinstance(expected, int) and expected != given for expected, given in zip(self._shape, x.shape, strict=True)):
            raise InputError(f"the model in {str(self.path)!r} takes (n, {', '.join(str(s) for s in self._shape[1:])}), got {describe(x)}")
        outputs = self._session.run(self._output_names, {INPUT_NAME: np.ascontiguousarray(x, dtype=np.float32)})
        return dict(zip(self._output_names, outputs, strict=True))


def choose_providers(device: str, available: Sequence[str]) -> list[str]:
    """Chooses ONNX Runtime's execution providers for a device.

    Args:
        device: ``cpu``, ``cuda`` or ``auto``.
        available: What the installed ONNX Runtime offers.

    Returns:
        The providers to ask for, best first; the last is always the CPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device is {device!r}, expected 'auto', 'cpu' or 'cuda'")
    gpu = ["CUDAExecutionProvider"] if device != "cpu" and "CUDAExecutionProvider" in available else []
    return [*gpu, "CPUExecutionProvider"]


def require(package: str, purpose: str) -> Any:
    """Imports an optional package of the extra ``onnx``, or raises `MissingDependencyError` that says what it is needed for."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingDependencyError(package, purpose, "onnx") from None


def _threads() -> int:
    """Counts the threads for one call: OMP_NUM_THREADS, which ONNX Runtime by itself ignores, else the CPUs this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    # The affinity, not the machine's count: in a container or under taskset they differ.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open(runtime: Any, path: Path, providers: list[str]) -> Any:
    if not path.is_file():
        raise WeightsError(f"there is no ONNX file {str(path)!r}; make one with optimize()")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only: they come back as exceptions, warnings would go to the console
    options.intra_op_num_threads = _threads()
    options.inter_op_num_threads = 1
    # Idle threads would otherwise spin for a while after each call, against camera, detector and torch. Without it a network of ESR-9's
    # size is as fast (33 ms on two cores either way).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no common base of their own
        cause = type(error).__name__
        raise WeightsError(f"{str(path)!r} is truncated or not an ONNX model ({cause}); export it again with optimize()") from None


def _read_card(session: Any, path: Path) -> ModelCard:
    text = session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
    if text is None:
        raise WeightsError(f"{str(path)!r} is not a model of this program: it carries no card; make one with optimize()")
    try:
        plain = json.loads(text)
        if not isinstance(plain, dict):
            raise ValueError("its card is not an object")
        return ModelCard.from_dict(plain)
    except ValueError as error:  # WeightsError is one
        raise WeightsError(f"{str(path)!r}: {error}") from None


def _check_layout(x: FloatArray) -> None:
    if x.ndim != 4:
        raise InputError(f"a back end takes (n, channels, height, width) float32, got {describe(x)}; add the batch axis")
