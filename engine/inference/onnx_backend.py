"""Runs an exported model with ONNX Runtime, which needs no torch."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.data import describe
from emotion_perception.engine.devices import check_device
from emotion_perception.engine.errors import EmotionPerceptionError, InputError, UsageError, WeightsError
from emotion_perception.engine.heap import trim_heap
from emotion_perception.engine.inference.backends import check_layout, require
from emotion_perception.engine.inference.console import silence
from emotion_perception.engine.inference.metadata import CARD_KEY, PRECISION_KEY, check_format
from emotion_perception.engine.machine import cpu_threads
from emotion_perception.engine.storage import SameFile, refusal
from emotion_perception.engine.target import FloatArray

logger = logging.getLogger(__name__)

INPUT_NAMES = ("images",)  # of networks that take pictures
_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}


class _Input(NamedTuple):
    """What an input takes, as the file says it; ONNX Runtime's own description goes with its session."""

    name: str
    shape: list[int | str]
    type: str


class OnnxBackend:
    """Runs an ONNX file written by `export_onnx`, with ONNX Runtime alone.

    Attributes:
        name: ``onnxruntime cpu``, ``onnxruntime cuda`` or ``onnxruntime tensorrt``: where it really runs; with the precision where that is
            not fp32.
        path: The file.
        file: The same, to be read once more.
        card: The model card inside the file.
        precision: ``fp32``, ``fp16`` or ``int8``.
    """

    def __init__(
        self,
        path: str | Path,
        output_names: Sequence[str],
        device: str = "auto",
        learner: str | None = None,
        input_names: Sequence[str] = INPUT_NAMES,
        tensorrt: bool = False,
    ) -> None:
        """Opens the file.

        Args:
            path: The ONNX file.
            output_names: Outputs to compute, in this order; all must be in the file.
            device: ``cpu``, ``cuda`` or ``auto``; without a usable GPU, ``cuda`` warns and uses the CPU.
            learner: Registered name that the file's card must have; None takes any.
            input_names: Inputs that the file must have, in this order.
            tensorrt: Run it by TensorRT, which builds an engine when it first sees a file, or a larger batch, and keeps it in the cache;
                where ONNX Runtime cannot load it, that warns, and the GPU or the CPU runs the file without.

        Raises:
            MissingDependencyError: onnxruntime is not installed.
            WeightsError: The file is missing, truncated, not from `export_onnx`, of another learner or without one of the outputs.
            UsageError: Another device; TensorRT on the CPU, or where the installed ONNX Runtime was built without.
            StorageError: There is no place for TensorRT's engines.
        """
        runtime = require("onnxruntime", "running an optimised model")
        self.path = Path(path)
        self.file = SameFile(self.path)
        self._output_names = tuple(output_names)
        providers = choose_providers(device, runtime.get_available_providers(), tensorrt)
        self._providers = [_CPU] if tensorrt else providers  # what is said to TensorRT depends on the file, which is looked at first
        session = self._open()
        about = session.get_modelmeta().custom_metadata_map
        check_format(about, self.path)
        self.card = _read_card(about, self.path)
        if learner is not None and self.card.learner != learner:
            raise WeightsError(
                f"{str(self.path)!r} is a model of {self.card.learner!r}, expected one of {learner!r}; give that learner's file"
            )
        self._inputs = [_Input(entry.name, entry.shape, entry.type) for entry in session.get_inputs()]
        names = [entry.name for entry in self._inputs]
        if names != list(input_names):
            wanted = ", ".join(input_names)
            raise WeightsError(f"{str(self.path)!r} takes {', '.join(names)}, expected {wanted}; export it again with optimize()")
        found = sorted(output.name for output in session.get_outputs())
        missing = [name for name in self._output_names if name not in found]
        if missing:
            raise WeightsError(
                f"{str(self.path)!r} lacks output {missing[0]!r} (it has {', '.join(found)}); export it again with optimize()"
            )
        self.precision = about.get(PRECISION_KEY, "fp32")
        if tensorrt:
            self._providers = providers
            session = self._open()
        self._session: Any = session
        runs_on = {_TENSORRT: "tensorrt", _CUDA: "cuda"}.get(session.get_providers()[0], "cpu")
        if tensorrt and runs_on != "tensorrt":
            self._providers = providers[1:]  # for pieces of the file, too
            what = "backend 'tensorrt' was asked for but ONNX Runtime cannot load its libraries here"
            logger.warning("%s: %s; using %s", self.path.name, what, runs_on)
        elif device == "cuda" and runs_on == "cpu":
            logger.warning("%s: device 'cuda' was asked for but ONNX Runtime has no usable GPU here; using the CPU", self.path.name)
        self.name = " ".join(["onnxruntime", runs_on, *([self.precision] if self.precision != "fp32" else [])])

    def close(self) -> None:
        """Frees the memory of the network, for those who run pieces of the file; the next call opens it again."""
        self._session = None

    def open_session(self, model: str | bytes) -> Any:
        """Opens a file, or what was cut from it, with this back end's providers and threads, and returns ONNX Runtime's session."""
        runtime = require("onnxruntime", "running an optimised model")
        if _TENSORRT in self._providers:
            providers = [(name, _tensorrt_options(model, self.precision) if name == _TENSORRT else {}) for name in self._providers]
            with silence():  # where it cannot be loaded, ONNX Runtime prints so and goes on with the others, also when it runs
                return runtime.InferenceSession(model, _options(runtime), providers=providers)
        session = runtime.InferenceSession(model, _options(runtime), providers=self._providers)
        session._model_bytes = None  # kept for a second try with other providers, which there is none of: as much memory as the weights
        trim_heap()  # half of what ONNX Runtime holds after opening a file of 80 MB is what it needed on the way
        return session

    def _open(self) -> Any:
        file = self.file.path()
        if not file.is_file():
            raise WeightsError(f"there is no ONNX file {str(self.path)!r}; make one with optimize()")
        try:
            return self.open_session(str(file))
        except EmotionPerceptionError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            cause = type(error).__name__
            raise WeightsError(f"{str(self.path)!r} is truncated or not an ONNX model ({cause}); export it again with optimize()") from None

    def __call__(self, *inputs: NDArray[Any]) -> dict[str, FloatArray]:
        """Runs the file; see `Backend`."""
        check_layout(inputs)
        if len(inputs) != len(self._inputs):
            names = ", ".join(entry.name for entry in self._inputs)
            raise InputError(f"the model in {str(self.path)!r} takes {len(self._inputs)} arrays ({names}), got {len(inputs)}")
        feeds = {entry.name: self._fitting(entry, x) for entry, x in zip(self._inputs, inputs, strict=True)}
        session = self._session  # another thread may close it meanwhile
        if session is None:
            session = self._session = self._open()
        return dict(zip(self._output_names, session.run(self._output_names, feeds), strict=True))

    def _fitting(self, entry: _Input, x: NDArray[Any]) -> NDArray[Any]:
        """Returns an array as the file takes it; one of another shape raises `InputError`."""
        other = [wanted for wanted, given in zip(entry.shape, x.shape, strict=False) if isinstance(wanted, int) and wanted != given]
        if other or len(entry.shape) != x.ndim:
            shape = f"(n, {', '.join(str(size) for size in entry.shape[1:])})"
            raise InputError(f"the model in {str(self.path)!r} takes {shape}, got {describe(x)} for {entry.name}")
        return np.ascontiguousarray(x, dtype=_TYPES.get(entry.type, np.float32))


def choose_providers(device: str, available: Sequence[str], tensorrt: bool = False) -> list[str]:
    """Chooses ONNX Runtime's execution providers for a device.

    Args:
        device: ``cpu``, ``cuda`` or ``auto``.
        available: What the installed ONNX Runtime offers.
        tensorrt: Whether TensorRT goes before all others.

    Returns:
        The providers to ask for, best first; the last is always the CPU.

    Raises:
        UsageError: Another device; TensorRT on the CPU, or where it is not offered.
    """
    check_device(device)
    if tensorrt and device == "cpu":
        raise UsageError("backend 'tensorrt' was asked for with device 'cpu', expected a GPU; choose device auto, or another backend")
    if tensorrt and _TENSORRT not in available:
        given = f"the installed ONNX Runtime offers {', '.join(available)}"
        raise UsageError(f"backend 'tensorrt' was asked for but {given}; install onnxruntime-gpu and TensorRT, or choose another backend")
    gpu = [_CUDA] if device != "cpu" and _CUDA in available else []
    return [*([_TENSORRT] if tensorrt else []), *gpu, _CPU]


def _tensorrt_options(model: str | bytes, precision: str) -> dict[str, Any]:
    """Returns what TensorRT is told about a model: mostly where the engine is kept, which takes minutes to build."""
    from emotion_perception.engine.downloads import cache_dir

    # A folder for each content: ONNX Runtime tells engines apart by the names in a graph, not by its weights (its issue 6455).
    content = Path(model).read_bytes() if isinstance(model, str) else model
    folder = cache_dir() / "tensorrt"
    engines = folder / hashlib.sha256(content).hexdigest()[:16]
    try:
        engines.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(engines, error) from None
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": precision == "fp16",
    }


def _options(runtime: Any) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only: they come back as exceptions, warnings would go to the console
    options.intra_op_num_threads = cpu_threads()
    options.inter_op_num_threads = 1
    # Idle threads would otherwise spin for a while after each call, against camera, detector and torch. Without it a network of ESR-9's
    # size is as fast (33 ms on two cores either way).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _read_card(about: Mapping[str, str], path: Path) -> ModelCard:
    text = about.get(CARD_KEY)
    if text is None:
        raise WeightsError(f"{str(path)!r} is not a model of this program: it carries no card; make one with optimize()")
    try:
        plain = json.loads(text)
        if not isinstance(plain, dict):
            raise ValueError("its card is not an object")
        return ModelCard.from_dict(plain)
    except ValueError as error:  # WeightsError is one
        raise WeightsError(f"{str(path)!r}: {error}") from None
