"""How far a network is from what its machine can do: the arithmetic it needs, and the arithmetic the machine is capable of."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_perception.engine.machine import cpu_threads, machine

if TYPE_CHECKING:
    import torch

# Large enough that a product is bound by arithmetic and not by memory: 4 MB per matrix in fp32.
_SIDE = 1024
_SECONDS = 0.6
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def gemm_peaks(use_torch: bool) -> dict[str, float]:
    """Measures products of large square matrices, the best of many.

    Args:
        use_torch: Whether torch may be imported.

    Returns:
        GFLOP/s (for int8: billions of integer operations per second) by precision and library: ``fp32 numpy``; ``int8 onnxruntime`` where
        onnx and onnxruntime are installed; with torch ``fp32 torch``, and ``bf16 torch`` where the processor computes in it.
    """
    products: dict[str, Callable[[], Any]] = {"fp32 numpy": _numpy_product()}
    if use_torch:
        products |= _torch_products()
    with contextlib.suppress(ImportError):
        products["int8 onnxruntime"] = _int8_product()
    return {name: 2.0 * _SIDE**3 / _shortest(product) / 1e9 for name, product in products.items()}


def multiply_adds(model: torch.nn.Module, x: torch.Tensor) -> int:
    """Counts the multiply-adds of a network's convolutions and linear layers.

    Args:
        model: In evaluation mode; it is run once.
        x: One input, with the batch axis.
    """
    import torch

    count = 0

    def add(module: Any, inputs: Any, output: torch.Tensor) -> None:
        nonlocal count
        # The weights of one output channel are what one number of the output takes, in groups too.
        count += output.numel() * module.weight[0].numel()

    layers = (module for module in model.modules() if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)))
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.inference_mode():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return count


def _shortest(product: Callable[[], Any]) -> float:
    """Returns the shortest of a function's times, in seconds: what else the machine does only ever adds."""
    product()
    end = time.perf_counter() + _SECONDS
    times: list[float] = []
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return min(times)


def _numpy_product() -> Callable[[], Any]:
    a, b = np.random.default_rng(0).random((2, _SIDE, _SIDE), dtype=np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def _torch_products() -> dict[str, Callable[[], Any]]:
    import torch

    a, b = torch.rand(2, _SIDE, _SIDE)
    products: dict[str, Callable[[], Any]] = {"fp32 torch": lambda: a @ b}
    # Without units for it, a product in bf16 takes seconds and says nothing. A measurement of a small one can be fooled by a busy machine.
    if _BF16 & set(machine()["instructions"].split()):
        c, d = a.bfloat16(), b.bfloat16()
        products["bf16 torch"] = lambda: c @ d
    return products


def _int8_product() -> Callable[[], Any]:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    # Unsigned activations and signed constant weights, as in a quantised network.
    numbers = np.random.default_rng(0)
    weights = numpy_helper.from_array(numbers.integers(-64, 64, (_SIDE, _SIDE), dtype=np.int8), "b")
    ends = (
        helper.make_tensor_value_info(name, kind, (_SIDE, _SIDE)) for name, kind in (("a", TensorProto.UINT8), ("c", TensorProto.INT32))
    )
    source, result = ends
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "product", [source], [result], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    a = numbers.integers(0, 128, (_SIDE, _SIDE), dtype=np.uint8)
    return lambda: session.run(None, {"a": a})
