"""From a torch module to an ONNX file that gives the same answers, with the model card inside."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.cards import ModelCard
from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.inference.backends import require
from emotion_perception.engine.inference.calibration import random_pictures
from emotion_perception.engine.inference.console import silence
from emotion_perception.engine.inference.metadata import CARD_KEY, FORMAT_KEY, FORMAT_VERSION, PRECISION_KEY, set_metadata
from emotion_perception.engine.inference.onnx_backend import INPUT_NAME, OnnxBackend
from emotion_perception.engine.inference.torch_backend import TorchBackend
from emotion_perception.engine.storage import atomic_write

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-4
OPSET = 18
_TRACED_BATCH = 2  # torch.export takes a size of 0 or 1 for a constant
_CHECKED_BATCHES = (1, 2, 5)


def export_onnx(
    model: torch.nn.Module, file: str | Path, card: ModelCard, output_names: Sequence[str], do_constant_folding: bool = True
) -> Path:
    """Exports a module, checks the file against it and puts it in its place, or leaves that place as it was.

    The file has a dynamic batch, the input ``images`` ``(batch, 3, height, width)`` float32, the named outputs, and in its metadata the
    card as JSON, the precision and the version of the format. It was run with ONNX Runtime on random pictures in several batch sizes:
    the largest difference from torch is at most 1e-4 times the largest absolute value of all outputs (of one network they feed on each
    other), or 1e-4 where all are below one.

    Args:
        model: Returns a tuple of tensors in the order of ``output_names``, rows along the batch. It is not changed.
        file: Where to write; missing folders are made.
        card: The card of the model's weights.
        output_names: Names of the outputs.
        do_constant_folding: Fold batch norm and other constants; without it, ONNX Runtime does so at each load.

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
    content = _serialize(on_cpu, card, tuple(output_names), do_constant_folding)
    with atomic_write(file) as unchecked:
        unchecked.write_bytes(content)
        _compare(TorchBackend(on_cpu, output_names), OnnxBackend(unchecked, output_names, "cpu", card.learner), card)
    return file


def _serialize(model: torch.nn.Module, card: ModelCard, output_names: tuple[str, ...], fold: bool) -> bytes:
    """Returns the content of the ONNX file."""
    import torch

    example = torch.from_numpy(random_pictures(card.input, _TRACED_BATCH))
    try:
        with silence():
            # The exporter on torch.export: the one on TorchScript is faster (1.3 s against 5 s for a network of ESR-9's size) but
            # deprecated, and writes sizes of the example down as constants under a batch that it calls dynamic.
            program = torch.onnx.export(
                model,
                (example,),
                input_names=[INPUT_NAME],
                output_names=list(output_names),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
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


def _compare(reference: TorchBackend, exported: OnnxBackend, card: ModelCard) -> None:
    """Raises `WeightsError` where the two back ends differ by more than the tolerance."""
    for count in _CHECKED_BATCHES:
        x = random_pictures(card.input, count)
        actual, wanted = exported(x), reference(x)
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
