"""Cuts an exported ensemble into its shared layers and groups of its branches, so that branches can be run only when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.heap import trim_heap
from emotion_perception.engine.inference.backends import require
from emotion_perception.engine.inference.onnx_backend import INPUT_NAMES, OnnxBackend

# Operators that only change how numbers are written; a quantised file has them between a stack of branches and its output.
_REWRITING = ("Cast", "DequantizeLinear", "Identity", "QuantizeLinear")
_WAY_OUT = "use it without confidence and budget_ms"


class OnnxPart:
    """A piece of an exported network, in a session of its own. Called with an array, it answers with a tuple of arrays."""

    def __init__(self, content: bytes, whole: OnnxBackend) -> None:
        """Opens the piece as the whole was opened: the same providers and threads.

        Args:
            content: An ONNX model with one input.
            whole: What it was cut from.
        """
        self._session = whole.open_session(content)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Runs the piece.

        Args:
            x: What its input takes, n rows.

        Returns:
            Its outputs, n rows each.
        """
        return tuple(self._session.run(None, {self._input: np.ascontiguousarray(x)}))


def cut(whole: OnnxBackend, stacked: Sequence[str], groups: Sequence[int]) -> tuple[OnnxPart, list[OnnxPart]]:
    """Cuts an exported ensemble into what all branches share, and groups of branches.

    Where to cut is found in the graph's structure, whatever its tensors are called: each of the outputs ``stacked`` is a concatenation with
    an entry per branch, and what all entries make of the pictures is shared. In a quantised file the cut is where numbers are 8 bits wide.
    The whole is closed, so that its weights are not held twice; it opens again when it is called.

    Args:
        whole: The exported network.
        stacked: Names of outputs ``(n, branches, ...)``.
        groups: Number of branches in each group, in their order; they add up to all branches.

    Returns:
        The shared layers, from pictures to features, and for each group a piece from features to the outputs ``stacked``, with the
        group's branches only.

    Raises:
        MissingDependencyError: onnx is not installed.
        WeightsError: The file is no ensemble of so many branches on shared layers.
    """
    whole.close()
    contents = _cut(whole, stacked, groups)
    trim_heap()
    parts = []
    while contents:  # each is let go as soon as it is open
        parts.append(OnnxPart(contents.pop(0), whole))
    return parts[0], parts[1:]


def _cut(whole: OnnxBackend, stacked: Sequence[str], groups: Sequence[int]) -> list[bytes]:
    """Returns the pieces as ONNX models, the shared layers first."""
    graph = _Graph(whole)
    stacks = [graph.stack(name) for name in stacked]
    for stack in stacks:
        if len(stack.input) != sum(groups):
            raise WeightsError(f"{graph.where} has {len(stack.input)} branches, expected {sum(groups)}; export it again with optimize()")
    features = graph.shared([[stack.input[i] for stack in stacks] for i in range(sum(groups))])
    base = graph.piece(graph.model.graph.input[0], [features])
    start = _described(base)
    contents = [base.SerializeToString()]
    for last, size in zip(np.cumsum(groups), groups, strict=True):
        members = {stack.output[0]: list(stack.input)[last - size : last] for stack in stacks}
        contents.append(graph.piece(start, stacked, members).SerializeToString())
    return contents


class _Graph:
    """The graph of an exported network: its nodes, in an order in which they can run, and which of them makes a tensor."""

    def __init__(self, whole: OnnxBackend) -> None:
        """Reads the file."""
        self.where = repr(str(whole.path))
        self.model = require("onnx", "running a part of an optimised model").load(str(whole.file.path()))
        unsorted = list(self.model.graph.node)  # quantisation appends its nodes at the end
        makers = {name: i for i, node in enumerate(unsorted) for name in node.output}
        before = {i: [makers[name] for name in node.input if name in makers] for i, node in enumerate(unsorted)}
        self.nodes = [unsorted[i] for i in TopologicalSorter(before).static_order()]
        self.makers = {name: i for i, node in enumerate(self.nodes) for name in node.output}

    def stack(self, output: str) -> Any:
        """Returns the node that puts the branches side by side for an output."""
        node = self.nodes[self.makers[output]]
        while node.op_type in _REWRITING and node.input[0] in self.makers:
            node = self.nodes[self.makers[node.input[0]]]
        if node.op_type != "Concat":
            raise WeightsError(f"{self.where} makes {output} with {node.op_type}, expected Concat; {_WAY_OUT}")
        return node

    def shared(self, branches: Sequence[Iterable[str]]) -> str:
        """Returns the tensor that all branches go on from, given the tensors at the end of each."""
        needed = [self.behind(ends) for ends in branches]
        known = {*INPUT_NAMES}
        seeing = set()  # the pictures; constants belong to whoever needs them
        for i, node in enumerate(self.nodes):
            if not known.isdisjoint(node.input):
                seeing.add(i)
                known.update(node.output)
        # Each branch dequantises for itself: ONNX Runtime computes in 8 bits only what it sees between two such operators.
        common = {i for i in set.intersection(*needed) & seeing if self.nodes[i].op_type != "DequantizeLinear"}
        common = self.behind(name for i in common for name in self.nodes[i].output)
        others, shared = set().union(*needed) - common, common & seeing
        found = {name for i in others for name in self.nodes[i].input if self.makers.get(name) in shared}
        if len(found) != 1:
            raise WeightsError(f"the branches of {self.where} share {len(found)} tensors, expected one; {_WAY_OUT}")
        return str(found.pop())

    def behind(self, names: Iterable[str], start: str = "", instead: Mapping[str, Sequence[str]] | None = None) -> set[int]:
        """Returns the nodes that make some tensors.

        Args:
            names: The tensors.
            start: A tensor that is given, so that nothing is needed to make it.
            instead: Other inputs for the nodes that make some tensors.
        """
        found: set[int] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            i = self.makers.get(name)
            if i is not None and i not in found and name != start:
                found.add(i)
                waiting.extend((instead or {}).get(name, self.nodes[i].input))
        return found

    def piece(self, start: Any, ends: Sequence[str], instead: Mapping[str, Sequence[str]] | None = None) -> Any:
        """Returns a model from one tensor, described as an input, to others, with other inputs for the nodes that make some tensors."""
        from onnx import NodeProto, ValueInfoProto, helper

        nodes = []
        for i in sorted(self.behind(ends, start.name, instead)):
            node = NodeProto()
            node.CopyFrom(self.nodes[i])
            if instead and node.output[0] in instead:
                del node.input[:]
                node.input.extend(instead[node.output[0]])
            nodes.append(node)
        used = {name for node in nodes for name in node.input}
        weights = [tensor for tensor in self.model.graph.initializer if tensor.name in used]
        graph = helper.make_graph(nodes, "part", [start], [ValueInfoProto(name=name) for name in ends], weights)
        return helper.make_model(graph, opset_imports=list(self.model.opset_import), ir_version=self.model.ir_version)


def _described(piece: Any) -> Any:
    """Returns the description of a piece's only output: its type and shape.

    Of an input of unknown shape, ONNX Runtime would not know how its numbers may lie in memory, and run slower layers of 8 bits.
    """
    from onnx import shape_inference

    (output,) = shape_inference.infer_shapes(piece).graph.output
    return output
