"""From a torch module to an ONNX file that gives the same answers, with the model card inside."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.inference.backends import Inputs, require
from emotion_perception.engine.inference.calibration import random_pictures
from emotion_perception.engine.inference.console import silence
from emotion_perception.engine.inference.metadata import CARD_KEY, FORMAT_KEY, FORMAT_VERSION, PRECISION_KEY, set_metadata
from emotion_perception.engine.inference.onnx_backend import INPUT_NAMES, OnnxBackend
from emotion_perception.engine.inference.torch_backend import TorchBackend
from emotion_perception.engine.storage import atomic_write

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4
OPSET = 18
_TRACED_BATCH = 2  # torch.export takes a size of 0 or 1 for a constant
_CHECKED_BATCHES = (1, 2, 5)


def export_onnx(
    model: torch.nn.Module,
    file: str | Path,
    card: ModelCard,
    output_names: Sequence[str],
    do_constant_folding: bool = True,
    *,
    input_names: Sequence[str] = INPUT_NAMES,
    example: Callable[[int], Inputs] | None = None,
) -> Path:
    """Exports a module, checks the file against it and puts it in its place, or leaves that place as it was.

    The file has a dynamic batch, the input ``images`` ``(batch, 3, height, width)`` float32 or those that ``example`` makes, the named
    outputs, and in its metadata the card as JSON, the precision and the version of the format. It was run with ONNX Runtime on random
    inputs in several batch sizes: the largest difference from torch is at most 1e-4 times the largest absolute value of all outputs (of
    one network they feed on each other), or 1e-4 where all are below one.

    Args:
        model: Returns a tuple of tensors in the order of ``output_names``, rows along the batch. It is not changed.
        file: Where to write; missing folders are made.
        card: The card of the model's weights.
        output_names: Names of the outputs.
        do_constant_folding: Fold batch norm and other constants; without it, ONNX Runtime does so at each load.
        input_names: Names of the inputs.
        example: As `Learner.example`: number of rows -> random inputs. Pictures if None.

    Returns:
        The file.

    Raises:
        MissingDependencyError: onnx, onnxscript or onnxruntime is not installed.
        WeightsError: The network cannot be exported, or its export answers differently.
        StorageError: The file cannot be written.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "optimize()")
    file = Path(file)
    on_cpu = copy.deepcopy(model).cpu().float().eval()  # the caller's module keeps its device and mode
    make = example or (lambda count: (random_pictures(card.input, count),))
    content = _serialize(on_cpu, card, tuple(input_names), tuple(output_names), make, do_constant_folding)
    with atomic_write(file) as unchecked:
        unchecked.write_bytes(content)
        exported = OnnxBackend(unchecked, output_names, "cpu", card.learner, input_names)
        _compare(TorchBackend(on_cpu, output_names), exported, card, make)
    return file


def _serialize(
    model: torch.nn.Module,
    card: ModelCard,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    make: Callable[[int], Inputs],
    fold: bool,
) -> bytes:
    """Returns the content of the ONNX file."""
    import torch

    traced = make(_TRACED_BATCH)
    shapes = _dynamic(traced, make(_TRACED_BATCH + 1), input_names)
    # Where `forward` takes ``*inputs``, they are one argument to torch.export.
    gathered = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in inspect.signature(model.forward).parameters.values())
    try:
        with silence():
            # The exporter on torch.export: the one on TorchScript is faster (1.3 s against 5 s for a network of ESR-9's size) but
            # deprecated, and writes sizes of the example down as constants under a batch that it calls dynamic.
            program = torch.onnx.export(
                model,
                tuple(torch.from_numpy(x) for x in traced),
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_shapes=(shapes,) if gathered else shapes,
                opset_version=OPSET,
                dynamo=True,
                optimize=fold,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise WeightsError(f"{card.learner!r} cannot be exported to ONNX: {cause}; run it with torch, without optimize()") from None
    assert program is not None  # always a program with dynamo=True
    proto: Any = program.model_proto
    fixed = [end.name for end in (*proto.graph.input, *proto.graph.output) if not end.type.tensor_type.shape.dim[0].dim_param]
    if fixed:
        raise WeightsError(f"{card.learner!r} cannot be exported to ONNX: the batch of {fixed[0]} is a constant, expected any size")
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces, with the paths of this machine
        node.doc_string = ""
    set_metadata(proto, CARD_KEY, json.dumps(card.to_dict(), ensure_ascii=False))
    set_metadata(proto, FORMAT_KEY, str(FORMAT_VERSION))
    set_metadata(proto, PRECISION_KEY, "fp32")
    return bytes(proto.SerializeToString())


def _dynamic(traced: Inputs, others: Inputs, names: Sequence[str]) -> tuple[dict[int, Any], ...]:
    """Returns the axes of each input that may have any size: those that differ between two examples. What differs alike is one size."""
    import torch

    sizes: dict[tuple[int, int], Any] = {(len(traced[0]), len(others[0])): torch.export.Dim("batch")}
    found: list[dict[int, Any]] = []
    for name, one, other in zip(names, traced, others, strict=True):
        changing = {axis: pair for axis, pair in enumerate(zip(one.shape, other.shape, strict=True)) if pair[0] != pair[1]}
        found.append({axis: sizes.setdefault(pair, torch.export.Dim(f"{name}_{axis}")) for axis, pair in changing.items()})
    return tuple(found)


def _compare(reference: TorchBackend, exported: OnnxBackend, card: ModelCard, make: Callable[[int], Inputs]) -> None:
    """Raises `WeightsError` where the two back ends differ by more than the tolerance."""
    for count in _CHECKED_BATCHES:
        inputs = make(count)
        actual, wanted = exported(*inputs), reference(*inputs)
        limit = TOLERANCE * max(1.0, *(float(np.abs(values).max(initial=0.0)) for values in wanted.values()))
        for name, expected in wanted.items():
            shape = actual[name].shape
            if shape != expected.shape:
                raise WeightsError(
                    f"the exported {card.learner!r} returns {name} of shape {shape}, expected {expected.shape}; it was not kept"
                )
            difference = float(np.abs(actual[name] - expected).max(initial=0.0))
            if not difference <= limit:  # so that NaN is refused
                where = f"{name}, in a batch of {count}"
                raise WeightsError(
                    f"the exported {card.learner!r} differs from torch by {difference:.3g} ({where}), expected at most {limit:.3g};"
                    " it was not kept"
                )
