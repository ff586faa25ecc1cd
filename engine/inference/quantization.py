"""ONNX models in fewer bits: half precision, and int8 with ranges measured on calibration inputs.

int8 follows Jacob et al., CVPR 2018: weights by output channel and symmetric, activations by tensor and with a zero point. The file keeps
the layers as they are, with quantise-dequantise pairs around them, from which a runtime makes integer kernels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.inference.backends import Backend, Inputs, require, rows
from emotion_perception.engine.inference.console import silence
from emotion_perception.engine.inference.metadata import PRECISION_KEY, set_metadata
from emotion_perception.engine.target import FloatArray

_LAYERS = ("Conv", "Gemm", "MatMul")
# Passed through in int8, so that a layer hands its bytes on to the next.
_BETWEEN = ("MaxPool", "Relu", "Clip")
_OPERATORS = [*_LAYERS, *_BETWEEN, "Add"]
# Below this many weights a layer costs nothing, and its own rounding would be the last before the answer.
_LEAST_WEIGHTS = 32768
_BATCH = 16


def to_half(file: Path) -> bytes:
    """Returns the content of an fp16 file that answers as the given fp32 file does; its inputs and outputs stay float32.

    Raises:
        WeightsError: The network has an operator that cannot be converted.
    """
    onnx = require("onnx", "fp16")
    converter = require("onnxruntime.transformers.float16", "fp16")
    proto = onnx.load(file)
    try:
        with silence():
            proto = converter.convert_float_to_float16(proto, keep_io_types=True)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{file.name!r} cannot be converted to fp16: {_line(error)}; use precision fp32") from None
    set_metadata(proto, PRECISION_KEY, "fp16")
    return bytes(proto.SerializeToString())


class Int8:
    """An fp32 file with measured ranges, from which int8 files are made.

    Weights use 7 of the 8 bits. Processors without VNNI add the products of two activations with two weights in 16 bits, which saturate
    with 8: on ESR-9, agreement with fp32 fell from 99.7 to 95.8 % there. With 7 the sums always fit, so that a file answers alike on every
    processor, at the same speed.

    Attributes:
        layers: Name of every layer that can be int8, by its node's name.
    """

    def __init__(self, file: Path, inputs: Inputs, scratch: Path) -> None:
        """Measures the ranges.

        Args:
            file: The fp32 file.
            inputs: What the network will see, n rows of each of its inputs.
            scratch: A folder for files in between.

        Raises:
            WeightsError: The network cannot be quantised.
        """
        onnx = require("onnx", "int8")
        self._tools = require("onnxruntime.quantization", "int8")
        proto = onnx.load(file)
        _relu_before_pool(proto)
        del proto.graph.value_info[:]  # the shapes inside; inferred anew below
        self._proto = onnx.shape_inference.infer_shapes(proto)
        self._input_names = [entry.name for entry in proto.graph.input]
        self.layers = dict(_named_layers(self._proto))
        if not self.layers:
            raise WeightsError(f"{file.name!r} has no layer with {_LEAST_WEIGHTS} weights or more that int8 would help; use precision fp32")
        prepared = scratch / "prepared.onnx"
        onnx.save(self._proto, prepared)
        self._ranges = self._measured(prepared, inputs, scratch / "measuring.onnx")

    def content(self, kept: Collection[str] = ()) -> bytes:
        """Returns the content of a file with all layers in int8 but the kept ones, given by their nodes' names."""
        return self._quantized(None, kept)

    def sensitivity(self, reference: Backend, inputs: Inputs, scratch: Path, outputs: tuple[str, ...]) -> Iterator[tuple[str, float]]:
        """Quantises one layer at a time.

        Args:
            reference: Runs the fp32 file.
            inputs: As for the ranges; few rows are enough to tell layers apart.
            scratch: A folder for files in between.
            outputs: Names of the network's outputs.

        Yields:
            The node's name, and how much int8 in this layer alone changes the outputs: the root mean square of the change in units of
            that of the output, for the output that changes most.
        """
        from emotion_perception.engine.inference.onnx_backend import OnnxBackend

        expected = reference(*inputs)
        file = scratch / "one.onnx"
        for node in self.layers:
            file.write_bytes(self._quantized([node], ()))
            yield node, _change(OnnxBackend(file, outputs, "cpu", input_names=self._input_names)(*inputs), expected)

    def _measured(self, prepared: Path, inputs: Inputs, augmented: Path) -> Any:
        """Returns the least and the largest value of every tensor over the inputs."""
        starts = range(0, len(inputs[0]), _BATCH)
        batches = iter([dict(zip(self._input_names, rows(inputs, slice(i, i + _BATCH)), strict=True)) for i in starts])

        class Reader(self._tools.CalibrationDataReader):  # type: ignore[misc,name-defined]  # a class of an optional package
            def get_next(self) -> Any:
                return next(batches, None)

        with silence():
            calibrator = self._tools.create_calibrator(prepared, _OPERATORS, augmented_model_path=str(augmented))
            calibrator.collect_data(Reader())
            return calibrator.compute_data()

    def _quantized(self, only: list[str] | None, kept: Collection[str]) -> bytes:
        import onnx

        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)  # the quantiser changes what it is given
        with silence():
            quantizer = self._tools.QDQQuantizer(
                proto,
                per_channel=True,
                reduce_range=True,
                weight_qType=self._tools.QuantType.QInt8,
                activation_qType=self._tools.QuantType.QUInt8,
                tensors_range=self._ranges,
                nodes_to_quantize=only,
                nodes_to_exclude=list(self._in_fp32(kept)),
                op_types_to_quantize=_OPERATORS,
                extra_options={},
            )
            quantizer.quantize_model()
        result = quantizer.model.model
        set_metadata(result, PRECISION_KEY, "int8")
        return bytes(result.SerializeToString())

    def _in_fp32(self, kept: Collection[str]) -> Iterator[str]:
        """Yields the nodes that stay in fp32: kept and small layers, and sums of anything but int8."""
        int8: set[str] = set()
        for node in self._proto.graph.node:
            added = node.op_type == "Add" and int8.issuperset(node.input)
            if added or (node.name in self.layers and node.name not in kept) or (node.op_type in _BETWEEN and node.input[0] in int8):
                int8.update(node.output)
            elif node.op_type in (*_LAYERS, "Add"):
                yield node.name


def _named_layers(proto: Any) -> Iterator[tuple[str, str]]:
    """Yields node and name of every layer with constant weights that is large enough to be worth it."""
    weights = {tensor.name: math.prod(tensor.dims) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type in _LAYERS and weights.get(node.input[1], 0) >= (_LEAST_WEIGHTS if node.op_type != "Conv" else 1):
            name = node.input[1]
            yield node.name, name.removesuffix(".weight") if name.endswith(".weight") else node.name


def _relu_before_pool(proto: Any) -> None:
    """Swaps max pooling and a ReLU that follows it, which commute.

    After pooling a ReLU has less to do, which counts in fp32. In int8 a ReLU right after a layer costs nothing, and no half of the range
    is spent on what is below zero: measured on ESR-9, a tenth less time and a quarter less difference from fp32.
    """
    users: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    outputs = {value.name for value in proto.graph.output}
    for pool in proto.graph.node:
        after = users.get(pool.output[0], []) if pool.op_type == "MaxPool" else []
        if len(after) == 1 and after[0].op_type == "Relu" and pool.output[0] not in outputs and len(pool.output) == 1:
            relu = after[0]
            relu.attribute.extend(pool.attribute)
            del pool.attribute[:]
            pool.op_type, relu.op_type = relu.op_type, pool.op_type
            pool.name, relu.name = relu.name, pool.name


def _change(actual: Mapping[str, FloatArray], expected: Mapping[str, FloatArray]) -> float:
    """Returns the root mean square of the change of the outputs, in units of that of the output, largest over the outputs."""

    def size(values: FloatArray) -> float:
        return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))

    return max(size(actual[name] - values) / max(size(values), 1e-12) for name, values in expected.items())


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
