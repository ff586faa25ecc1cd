"""Captured graphs: kept by shape, dropped with the weights they are of, given up for good after a failure. Without a GPU, by a stand-in."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from emotion_perception.engine.errors import WeightsError
from emotion_perception.engine.inference import TorchBackend
from emotion_perception.engine.inference.cuda_graphs import GRAPHS_VARIABLE, CudaGraph, GraphCache, may_capture

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Network(nn.Module):
    """Doubles what it gets, and counts how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.calls += 1
        return tuple(2.0 * x for x in inputs)


class StandIn:
    """Captures like a GPU: static inputs and outputs, written by each replay; of many inputs, `fault` says what goes wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.captured: list[tuple[tuple[int, ...], ...]] = []
        self.others: list[object] = []
        self.replays = 0

    def __call__(self, network, inputs, other):
        self.captured.append(tuple(tuple(x.shape) for x in inputs))
        self.others.append(other)
        if self.fault == "capture":
            try:
                raise RuntimeError("operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA")
            except RuntimeError:
                raise RuntimeError("operation failed due to a previous error during capture") from None
        static, outputs = [x.clone() for x in inputs], [torch.empty_like(x) for x in inputs]

        def replay(given):
            self.replays += 1
            if self.fault == "replay" and self.replays > 2:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            for kept, x in zip(static, given, strict=True):
                kept.copy_(x)
            time.sleep(0.002)  # so that another thread, if it may, comes in between
            for output, kept in zip(outputs, static, strict=True):
                output.copy_(2.0 * kept + (1.0 if self.fault == "answers" else 0.0))
            return tuple(outputs)

        return replay


def read(outputs) -> dict[str, np.ndarray]:
    return {str(i): output.numpy().copy() for i, output in enumerate(outputs)}


class Run:
    """A cache with its stand-in and network."""

    def __init__(self, fault: str = "", kept: int = 8) -> None:
        self.stand_in, self.network = StandIn(fault), Network()
        self.cache = GraphCache("torch cuda:0", 1e-3, self.stand_in, kept)
        self.made: object = object()

    def __call__(self, *inputs: torch.Tensor) -> None:
        answers = self.cache(self.made, self.network, inputs, read)
        for i, x in enumerate(inputs):
            np.testing.assert_array_equal(answers[str(i)], (2.0 * x).numpy())


def x(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_the_first_call_of_a_shape_is_eager_the_second_captures_and_all_others_replay() -> None:
    run = Run()
    for number in range(5):
        run(x(2, 3, seed=number))
    assert run.stand_in.captured == [((2, 3),)]
    assert (run.network.calls, run.stand_in.replays) == (2, 4)
    run(x(4, 3), x(4, 1))
    run(x(4, 3), x(4, 1))
    assert run.stand_in.captured == [((2, 3),), ((4, 3), (4, 1))]


def test_graphs_of_one_network_are_told_of_each_other_to_share_memory() -> None:
    run = Run()
    for rows in (1, 1, 2, 2):
        run(x(rows, 3))
    assert run.stand_in.others[0] is None
    assert callable(run.stand_in.others[1])


def test_the_shape_not_seen_for_the_longest_time_goes() -> None:
    run = Run(kept=2)
    for rows in (1, 1, 2, 2, 1, 3, 3):  # 2 was used before 1, and goes for 3
        run(x(rows, 3))
    calls = run.network.calls
    run(x(1, 3))
    assert (run.network.calls, len(run.stand_in.captured)) == (calls, 3)
    for _ in range(2):
        run(x(2, 3))
    assert len(run.stand_in.captured) == 4


def test_shapes_that_never_come_again_are_never_captured() -> None:
    run = Run(kept=4)
    for rows in range(1, 30):
        run(x(rows, 3))
    assert run.stand_in.captured == []


def test_with_other_weights_all_graphs_are_dropped() -> None:
    run = Run()
    for _ in range(3):
        run(x(2, 3))
    run.made = object()
    for _ in range(3):
        run(x(2, 3))
    assert len(run.stand_in.captured) == 2
    assert run.network.calls == 4
    assert run.stand_in.others == [None, None]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("capture", "operation not permitted when stream is capturing"),
        ("answers", "the 0 they give are not the network's own"),
        ("replay", "CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_failure_ends_it_for_good_with_one_warning_and_right_answers(caplog, fault: str, reason: str) -> None:
    run = Run(fault)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            run(x(2, 3, seed=number))
        assert not run.cache.on
        run.made = object()
        for rows in (2, 2, 4, 4):
            run(x(rows, 3))
    assert len(run.stand_in.captured) == 1
    (record,) = caplog.records
    assert record.getMessage() == f"torch cuda:0 runs without CUDA graphs: {reason}; {GRAPHS_VARIABLE}=0 forbids them from the start"


def test_numbers_that_are_not_finite_are_no_difference() -> None:
    run = Run()
    odd = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1.0]])
    for _ in range(3):
        run(odd)
    assert run.cache.on
    assert run.stand_in.replays == 2


def test_other_types_than_floats_and_empty_inputs_are_run_eagerly() -> None:
    run = Run()
    for _ in range(3):
        run(x(2, 3), torch.ones(2, 1, dtype=torch.int64))
        run(x(0, 3))
    assert run.stand_in.captured == []
    assert run.cache.on


def test_an_error_of_the_network_itself_reaches_the_caller_and_ends_nothing() -> None:
    run = Run()

    def refuse(outputs):
        raise WeightsError("the network returned 1 outputs, expected 2")

    with pytest.raises(WeightsError):
        run.cache(run.made, run.network, [x(2, 3)], refuse)
    run(x(2, 3))
    assert run.cache.on


def test_threads_get_their_own_answers_though_a_graph_has_one_place_for_them() -> None:
    run = Run()
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for i in range(8):
            run(x(1 + i % 2, 3, seed=10 * number + i))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert len(run.stand_in.captured) == 2


# ---- in the torch back end ----------------------------------------------------------------------------------------------


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 24, 32)).astype(np.float32)


def capture_on_the_cpu(network, inputs, other):
    """What a graph is to its caller: the weights of the moment it was captured, and one place for its outputs."""
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    outputs = [torch.empty_like(output) for output in network(*inputs)]

    def replay(given):
        for output, values in zip(outputs, torch.func.functional_call(network, weights, tuple(given)), strict=True):
            output.copy_(values)
        return tuple(output.clone() for output in outputs)  # copying off a CPU does not copy

    return replay


@pytest.mark.parametrize("copied", [False, True])
def test_the_back_end_follows_its_network_when_that_is_trained_further(model, output_names, copied: bool) -> None:
    import copy

    backend = TorchBackend(model, output_names, "cpu", copy.deepcopy if copied else None)
    plain = TorchBackend(model, output_names, "cpu")
    assert backend._graphs is None
    captured = []
    backend._graphs = GraphCache("toy", 1e-3, lambda *given: captured.append(given) or capture_on_the_cpu(*given))
    for change in range(3):
        for number in range(3):
            np.testing.assert_allclose(backend(pictures(2, number))["logits"], plain(pictures(2, number))["logits"], atol=1e-6)
        assert len(captured) == change + 1
        with torch.no_grad():
            model.scores.bias += 1.0


def test_graphs_are_for_gpus_and_can_be_forbidden(monkeypatch) -> None:
    monkeypatch.delenv(GRAPHS_VARIABLE, raising=False)
    assert may_capture(torch.device("cuda", 1))
    assert not may_capture(torch.device("cpu"))
    monkeypatch.setenv(GRAPHS_VARIABLE, "0")
    assert not may_capture(torch.device("cuda"))


# ---- on a GPU -----------------------------------------------------------------------------------------------------------


class Looks(nn.Module):
    """A network that looks at a number on the way, which cannot be captured."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.network(x if float(x.sum()) > 1e9 else x + 1.0)


@gpu
@pytest.mark.parametrize("bf16", [False, True])
def test_on_a_gpu_graphs_answer_as_the_network_does(model, output_names, monkeypatch, bf16: bool) -> None:
    backend = TorchBackend(model, output_names, "cuda", bf16=bf16)
    monkeypatch.setenv(GRAPHS_VARIABLE, "0")
    eager = TorchBackend(model, output_names, "cuda", bf16=bf16)
    monkeypatch.delenv(GRAPHS_VARIABLE)
    for count in (1, 4, 2):
        for number in range(4):
            answers, expected = backend(pictures(count, number)), eager(pictures(count, number))
            for name, values in expected.items():
                np.testing.assert_allclose(answers[name], values, atol=(2e-2 if bf16 else 1e-3) * max(1.0, np.abs(values).max()))
    assert backend._graphs.on
    assert [isinstance(graph, CudaGraph) for graph in backend._graphs._known.values()] == [True] * 3
    with torch.no_grad():
        model.scores.bias += 1.0
    np.testing.assert_allclose(backend(pictures(1))["logits"], eager(pictures(1))["logits"], atol=0.1)


@gpu
def test_on_a_gpu_threads_get_their_own_answers(model, output_names) -> None:
    backends = [TorchBackend(model, output_names, "cuda") for _ in range(2)]
    expected = [backends[0](pictures(1 + i % 3, i))["affect"] for i in range(48)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda i: backends[i % 2](pictures(1 + i % 3, i))["affect"], range(48)))
    for answer, right in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, right, atol=1e-3)
    assert all(backend._graphs.on for backend in backends)


@gpu
def test_on_a_gpu_a_capture_that_fails_leaves_nothing_behind(model, output_names, caplog) -> None:
    backend = TorchBackend(Looks(model), output_names, "cuda")
    stream = torch.cuda.current_stream()
    with caplog.at_level(logging.WARNING):
        answers = [backend(pictures(2))["logits"] for _ in range(4)]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)
    assert len(caplog.records) == 1
    assert torch.cuda.current_stream() == stream
    assert not torch.cuda.is_current_stream_capturing()
    torch.rand(1000, 1000, device="cuda").sum().item()  # memory and random numbers are to be had as before
    other = TorchBackend(model, output_names, "cuda")  # and others may capture
    for _ in range(3):
        other(pictures(2))
    assert other._graphs.on


@gpu
def test_on_a_gpu_moving_weights_does_not_take_them_from_a_graph(model, output_names) -> None:
    backend = TorchBackend(model, output_names, "cuda")
    expected, *_ = [backend(pictures(2))["logits"] for _ in range(3)]
    model.to(memory_format=torch.channels_last)  # in new memory, which changes no version; the old is free for others
    others = [torch.full((size,), 7.0, device="cuda") for size in (216, 1152, 1 << 20)]
    np.testing.assert_allclose(backend(pictures(2))["logits"], expected, atol=1e-3)
    assert all(float(other.sum()) == 7.0 * len(other) for other in others)
