"""CUDA graphs: all that a network launches for inputs of one shape, recorded once and launched as one afterwards."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emotion_perception.engine.target import FloatArray

logger = logging.getLogger(__name__)

GRAPHS_VARIABLE = "EMOTION_PERCEPTION_CUDA_GRAPHS"
_KEPT = 8
_WARM_UP_CALLS = 3  # as torch's documentation has it
_CAPTURING = threading.Lock()  # one at a time in a process: to begin, torch waits for the whole device, which no capture survives
_FAILED: list[Any] = []  # after a failed capture torch's allocators go on asking the graph, which must stay for that

Shapes = tuple[tuple[int, ...], ...]
# From inputs of the shapes it was made for to outputs, which the next call overwrites.
Replay = Callable[[Sequence[Tensor]], Any]
# Makes one for a network and inputs; the third is another one that memory may be shared with, if there is one.
Capture = Callable[[nn.Module, Sequence[Tensor], Any], Replay]


def may_capture(device: torch.device) -> bool:
    """Says whether networks on a device are to run by graphs: on a GPU, unless ``EMOTION_PERCEPTION_CUDA_GRAPHS=0`` forbids it."""
    return device.type == "cuda" and os.environ.get(GRAPHS_VARIABLE, "1") != "0"


class CudaGraph:
    """One recorded run of a network."""

    def __init__(self, network: nn.Module, inputs: Sequence[Tensor], other: CudaGraph | None = None) -> None:
        """Records it, within inference mode.

        Args:
            network: It must launch the same at each call, and must not look at a number on the way.
            inputs: On the GPU; their values do not matter.
            other: One never run at the same time, whose outputs nobody needs by the next call: both work in the same memory.

        Raises:
            RuntimeError: The network cannot be recorded, or the GPU has no memory left for it.
        """
        device = inputs[0].device
        caller = torch.cuda.current_stream(device)
        self._inputs = [x.clone() for x in inputs]
        # Where another program moves the network, its weights stay where the graph reads them.
        self._weights = [tensor.detach() for tensor in chain(network.parameters(), network.buffers())]
        self._stream: torch.cuda.Stream = other._stream if other else torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's
        self._pool: Any = other._pool if other else torch.cuda.graph_pool_handle()
        self._graph = torch.cuda.CUDAGraph()
        # Leaving this stream for the caller's is not left to `torch.cuda.graph`, which stays in it when a capture fails.
        with _CAPTURING, torch.cuda.stream(self._stream):
            self._stream.wait_stream(caller)
            for _ in range(_WARM_UP_CALLS):
                network(*self._inputs)
            caller.wait_stream(self._stream)
            try:
                # What other threads do meanwhile on the GPU ("global" would forbid it) is their own.
                with torch.cuda.graph(self._graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                    self._outputs = network(*self._inputs)
            except BaseException:
                _FAILED.append(self._graph)
                raise

    def __call__(self, inputs: Sequence[Tensor]) -> Any:
        """Runs it on other inputs of the same shapes; returns the outputs, in memory that the next call overwrites."""
        for kept, x in zip(self._inputs, inputs, strict=True):
            kept.copy_(x)
        self._graph.replay()
        return self._outputs


class GraphCache:
    """Runs a network by graphs for shapes that come again, and eagerly the first time they come.

    Graphs are for floats only; the first answer of each is compared with the eager one. Once one cannot be made, or answers otherwise,
    there are no more of them, and a warning says so. Several threads may call it at once; with graphs they wait for each other.

    Attributes:
        on: Whether there are graphs; False after a failure.
    """

    def __init__(self, who: str, tolerance: float, capture: Capture = CudaGraph, kept: int = _KEPT) -> None:
        """Makes an empty cache.

        Args:
            who: Whom the warning is about.
            tolerance: What a graph's answers may differ by, of the largest absolute value of an output, or as it is where that is below 1.
            capture: Makes a graph.
            kept: Most shapes to remember; the one not seen for the longest time goes.
        """
        self.on = True
        self._who, self._tolerance, self._capture, self._kept = who, tolerance, capture, kept
        self._lock = threading.Lock()
        self._made: object = None
        self._known: OrderedDict[Shapes, Replay | None] = OrderedDict()  # None: seen once

    def __call__(
        self, made: object, network: nn.Module, inputs: Sequence[Tensor], read: Callable[[Any], dict[str, FloatArray]]
    ) -> dict[str, FloatArray]:
        """Runs a network.

        Args:
            made: Another object than at the last call means that the network has changed since: its graphs are dropped.
            network: What to run.
            inputs: What it takes.
            read: Copies its outputs off the GPU.
        """
        if not self.on or not all(x.is_floating_point() and x.numel() for x in inputs):
            return read(network(*inputs))
        with self._lock:
            if made is not self._made:
                self._made = made
                self._known.clear()
            shapes = tuple(tuple(x.shape) for x in inputs)
            seen, graph = shapes in self._known, self._known.get(shapes)
            if graph is not None:
                try:
                    answers = read(graph(inputs))
                    self._known.move_to_end(shapes)
                    return answers
                except Exception as error:  # whatever a GPU says; if it is lost, the next line will say so
                    self._give_up(error)
            answers = read(network(*inputs))
            if seen and self.on:
                graph = self._captured(network, inputs, read, answers)
            if self.on:
                self._known[shapes] = graph
                self._known.move_to_end(shapes)
                while len(self._known) > self._kept:
                    self._known.popitem(last=False)
            return answers

    def _captured(
        self, network: nn.Module, inputs: Sequence[Tensor], read: Callable[[Any], dict[str, FloatArray]], expected: Mapping[str, FloatArray]
    ) -> Replay | None:
        """Returns a graph that gives the expected answers; None, and no more graphs, where that fails."""
        try:
            graph = self._capture(network, inputs, next((known for known in self._known.values() if known is not None), None))
            answers = read(graph(inputs))
            for name, values in expected.items():
                limit = self._tolerance * float(np.abs(values[np.isfinite(values)]).max(initial=1.0))
                if not np.allclose(answers[name], values, rtol=0.0, atol=limit, equal_nan=True):
                    raise RuntimeError(f"the {name} they give are not the network's own")
            return graph
        except Exception as error:  # whatever a network does that cannot be recorded
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        self.on = False
        self._known.clear()
        # The end of a failed capture fails, too, and says less than what went wrong before.
        cause = error.__context__ or error
        what = str(cause).strip().partition("\n")[0] or type(cause).__name__
        logger.warning("%s runs without CUDA graphs: %s; %s=0 forbids them from the start", self._who, what, GRAPHS_VARIABLE)
