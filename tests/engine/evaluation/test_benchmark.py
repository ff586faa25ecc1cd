from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.cards import InputSpec
from emotion_perception.engine.data import Image
from emotion_perception.engine.datasets import EmotionDataset, Targets
from emotion_perception.engine.errors import DatasetError, UsageError, WeightsError
from emotion_perception.engine.evaluation.benchmark import peaks
from emotion_perception.engine.evaluation.benchmark.footprint import footprint
from emotion_perception.engine.evaluation.benchmark.report import cost_rise, notes, write_benchmark
from emotion_perception.engine.evaluation.benchmark.stages import video_stages
from emotion_perception.engine.evaluation.benchmark.timing import benchmark, in_turns, pictures_for, summary
from emotion_perception.engine.evaluation.benchmark.variants import Variant, judged, prepare
from emotion_perception.engine.labels import AFFECTNET8
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.machine import machine
from emotion_perception.engine.pipeline import Pipeline
from emotion_perception.engine.target import BoundingBox
from emotion_perception.engine.vision.faces import Face
from emotion_perception.engine.vision.video import VideoWriter
from emotion_perception.learners.esr import FacialEmotionLearner


class Grey(EmotionDataset):
    """Grey pictures, each of a class."""

    labels = AFFECTNET8

    def __init__(self, count: int) -> None:
        self.targets = Targets(np.arange(count) % 8)

    def picture(self, index: int) -> np.ndarray:
        return np.full((54, 54), 10 * index, np.uint8)


class Everywhere:
    """A detector that finds one face in the middle of each picture."""

    name = "everywhere"

    def __call__(self, image: Image) -> list[Face]:
        return [Face(BoundingBox(64.0, 64.0, 128.0, 128.0))]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ESR that has learned nothing, for small pictures."""
    learner = FacialEmotionLearner(ensemble_size=2, input_size=54, seed=1)
    learner.init_model()
    return learner.save(tmp_path_factory.mktemp("esr2") / "weights")


@pytest.fixture(scope="module")
def prepared(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Variant], Path]:
    scratch = tmp_path_factory.mktemp("scratch")
    return prepare("esr", weights, scratch, precisions=("fp32",), confidence=0.9), scratch


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices, and one process for each variant."""
    monkeypatch.setattr(peaks, "_SIDE", 64)
    monkeypatch.setattr(peaks, "_SECONDS", 0.001)
    monkeypatch.setattr("emotion_perception.engine.evaluation.benchmark.footprint._TIMES", 1)


def test_the_machine_is_described_without_its_name() -> None:
    import platform

    facts = machine()
    assert facts["threads"] >= 1
    assert facts["numpy"] == np.__version__
    assert platform.node() not in map(str, facts.values())


def test_multiply_adds_are_those_of_convolutions_and_linear_layers() -> None:
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    assert peaks.multiply_adds(net, torch.zeros(1, 4, 8, 8)) == 8 * 36 * 2 * 9 + 8 * 36 * 5
    assert all(not module._forward_hooks for module in net)

    from emotion_perception.learners.esr.model import ESR

    # The published figures: base 1,158,343,680 and each branch 186,978,320.
    assert peaks.multiply_adds(ESR(1).eval(), torch.zeros(1, 3, 96, 96)) == 1_158_343_680 + 186_978_320


def test_peaks_name_precision_and_library(quick: None) -> None:
    assert set(peaks.gemm_peaks(False)) == {"fp32 numpy", "int8 onnxruntime"}
    found = peaks.gemm_peaks(True)
    assert {"fp32 numpy", "fp32 torch", "int8 onnxruntime"} <= set(found)
    assert all(value > 0.0 for value in found.values())


def test_turns_give_all_the_same_pictures_and_call_each_twice() -> None:
    seen: dict[str, list[float]] = {"a": [], "b": []}
    x = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1)
    runners = {name: lambda batch, name=name: seen[name].append(batch[:, 0, 0, 0].tolist()) for name in seen}
    times = in_turns(runners, x, 2, 1e-6)
    assert len(times["a"]) == len(times["b"]) >= 5
    assert seen["a"] == seen["b"]
    assert len(seen["a"]) == 2 * (len(times["a"]) + 3)  # a call that does not count goes before each, and three rounds warm up
    assert seen["a"][0::2] == seen["a"][1::2]
    assert set(np.ravel(seen["a"])) == {0, 1, 2, 3, 4}


def test_summary_of_known_times() -> None:
    row = summary([10.0, 20.0, 10.0], [40.0, 40.0, 20.0], 4)
    assert (row["batch"], row["rounds"], row["p50_ms"]) == (4, 3, 10.0)
    assert row["ratio"] == 2.0
    assert row["ratio_of_totals"] == 2.5
    assert row["ms_per_input"] == pytest.approx(40 / 3 / 4)
    assert row["inputs_per_s"] == pytest.approx(300.0)


def test_the_cost_of_a_face_that_rises_is_found() -> None:
    rows = [{"batch": size, "ms_per_input": cost} for size, cost in ((1, 10.0), (2, 8.0), (4, 8.8), (8, 7.0))]
    assert cost_rise({"batches": rows}) == (pytest.approx(0.1), 2, 4)
    assert cost_rise({"batches": rows[:1]}) is None


def test_variants_are_the_reference_and_what_was_asked_for(prepared: tuple[list[Variant], Path]) -> None:
    variants, _ = prepared
    assert [variant.name for variant in variants] == [
        "reference",
        "torch fp32",
        "torch fp32 anytime 0.9",
        "onnxruntime fp32",
        "onnxruntime fp32 anytime 0.9",
    ]
    assert variants[3].bytes > 1e6


def test_the_reference_counts_the_votes_of_the_learners_branches(weights: Path) -> None:
    learner = FacialEmotionLearner(backend="torch")
    learner.load(weights)
    x = pictures_for(learner).x[:16]
    categories, affect = Variant("esr", str(weights), "reference").runner(learner)(x)
    emotions = judged(learner, x)
    votes = emotions.extras["votes"]
    assert [index for index, _ in categories] == votes.argmax(axis=1).tolist()  # ties are broken by the order of the classes
    shares = np.exp(votes) / np.exp(votes).sum(axis=1, keepdims=True)
    np.testing.assert_allclose([share for _, share in categories], shares.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(np.clip(affect, -1, 1), emotions.affect, atol=1e-5)


def test_a_learner_without_a_reference_is_compared_with_its_plain_network(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FacialEmotionLearner, "reference", Learner.reference)
    variant = Variant("esr", str(weights), "reference")
    learner = variant.load()
    x = pictures_for(learner).x[:3]
    logits, _ = variant.runner(learner)(x)
    np.testing.assert_allclose(logits, learner.outputs(x)["logits"], atol=1e-4)


def test_everything_is_measured_and_reported(prepared: tuple[list[Variant], Path], quick: None, tmp_path: Path) -> None:
    variants, scratch = prepared
    result = benchmark(variants, scratch, batches=(2, 1, 2), seconds=0.01) | {"command": "emotion-perception benchmark esr"}
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [row["batch"] for row in result["variants"][0]["batches"]] == [1, 2]
    reference, torch_fp32, torch_anytime, onnx_fp32, onnx_anytime = result["variants"]
    assert reference["batches"][0]["ratio"] == 1.0
    assert "agreement" not in reference
    assert torch_fp32["agreement"] == 1.0
    assert onnx_fp32["probabilities_differ"] < 1e-4
    assert 1.0 <= onnx_anytime["branches_used"] <= 2.0
    assert torch_anytime["branches_used"] == onnx_anytime["branches_used"]
    assert [variant["torch"] for variant in result["variants"]] == [True, True, True, False, False]
    assert onnx_fp32["first_answer_s"] > 0.0
    assert onnx_fp32["loaded_mb"] <= onnx_fp32["one_mb"] <= onnx_fp32["most_mb"]
    assert onnx_fp32["batches"][0]["share_of_peak"] > 0.0
    assert "gflops" not in onnx_anytime["batches"][0]

    files = write_benchmark(result, tmp_path / "2026-01-02-fast.v1")
    assert [file.name for file in files] == [f"2026-01-02-fast.v1{suffix}" for suffix in (".json", ".md", ".png")]
    page = files[1].read_text()
    assert "| onnxruntime fp32 anytime 0.9 | 2 |" in page
    assert str(scratch) not in page + files[0].read_text()
    assert files[2].read_bytes().startswith(b"\x89PNG")
    quiet, busy = (notes({**result, "load_before": load}) for load in (0.1, 5.0))
    assert len(busy) == len(quiet) + 1


def test_an_exported_folder_is_measured_as_it_is_and_without_torch(prepared: tuple[list[Variant], Path], tmp_path: Path) -> None:
    folder = prepared[0][3].folder
    code = (
        "import sys; from pathlib import Path; "
        "from emotion_perception.engine.evaluation.benchmark import footprint, peaks, timing, variants; "
        "peaks._SIDE, peaks._SECONDS, footprint._TIMES = 64, 0.001, 1; "
        "folder, scratch = map(Path, sys.argv[1:]); "
        "found = variants.prepare('esr', folder, scratch, backends=['onnxruntime'], precisions=['fp32'], reference=False); "
        "result = timing.benchmark(found, scratch, batches=[1], seconds=0.01); "
        "print('torch' in sys.modules, found[0].folder, result['multiply_adds'])"
    )
    done = subprocess.run([sys.executable, "-c", code, folder, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", folder, "None"]


def test_another_input_size_is_exported_anew(prepared: tuple[list[Variant], Path], tmp_path: Path) -> None:
    (variant,) = prepare(
        "esr", Path(prepared[0][3].folder), tmp_path, backends=("torch",), precisions=("fp32",), reference=False, input_size=60
    )
    assert not (Path(variant.folder) / "model.onnx").exists()
    assert variant.load().card.input == InputSpec(60, 60)


def test_each_back_end_is_measured_in_the_precisions_it_has(weights: Path, tmp_path: Path) -> None:
    found = prepare("esr", weights, tmp_path, precisions=("fp32", "bf16"), reference=False)
    assert [variant.name for variant in found] == ["torch fp32", "torch bf16", "onnxruntime fp32"]
    assert found[1].load().backend_name == "torch cpu bf16"


def test_labelled_pictures_give_accuracy(weights: Path, quick: None, tmp_path: Path) -> None:
    variants = prepare("esr", weights, tmp_path, backends=("torch",), precisions=("fp32",), reference=False)
    result = benchmark(variants, tmp_path, given=Grey(16), batches=(1,), seconds=0.01)
    assert result["pictures"] == {"source": "Grey, drawn at random", "count": 16}
    assert 0.0 <= result["variants"][0]["accuracy"] <= 1.0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"backends": ("onnx",)}, "unknown back end .onnx.; known: onnxruntime, tensorrt, torch"),
        ({"precisions": ("int4",)}, "did you mean 'int8'?"),
        ({"backends": ("torch",), "precisions": ("int8",)}, "torch computes in fp32 and bf16, .* got torch and int8"),
    ],
)
def test_what_cannot_be_measured_is_refused(weights: Path, tmp_path: Path, words: dict[str, tuple[str, ...]], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        prepare("esr", weights, tmp_path, **words)


def test_a_learner_without_weights_or_ensemble_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(FacialEmotionLearner):
        default_weights = None

        def __init__(self, *, backend: str = "auto", device: str = "auto") -> None:
            super().__init__(backend=backend, device=device)

    monkeypatch.setattr("emotion_perception.engine.evaluation.benchmark.variants.learner_class", lambda name: Plain)
    with pytest.raises(UsageError, match="no default weights; give --weights"):
        prepare("esr", None, tmp_path)
    with pytest.raises(UsageError, match="no anytime ensemble"):
        prepare("esr", None, tmp_path, confidence=0.9)


def test_a_gpu_that_is_not_there_is_an_error(prepared: tuple[list[Variant], Path]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match="no usable GPU here"):
        replace(prepared[0][1], device="cuda").load()


def test_tensorrt_runs_the_exported_file_and_is_refused_where_onnx_runtime_has_none(prepared) -> None:
    exported = next(variant for variant in prepared[0] if variant.exported)
    tensorrt = replace(exported, backend="tensorrt")
    assert (tensorrt.name, tensorrt.bytes) == (exported.name.replace("onnxruntime", "tensorrt"), exported.bytes)
    if "TensorrtExecutionProvider" in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("ONNX Runtime has TensorRT here")
    with pytest.raises(UsageError, match="tensorrt' was asked for but the installed ONNX Runtime offers"):
        tensorrt.load()


def test_batches_and_pictures_must_make_sense(prepared: tuple[list[Variant], Path]) -> None:
    variants, scratch = prepared
    with pytest.raises(UsageError, match="expected batches of at least 1"):
        benchmark(variants, scratch, batches=(0,))
    with pytest.raises(UsageError, match="more than 0 seconds"):
        benchmark(variants, scratch, seconds=0.0)
    with pytest.raises(DatasetError, match="has 9 pictures, expected at least a batch of 16"):
        benchmark(variants, scratch, given=Grey(9))


def test_a_process_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="torch fp32 failed in a process of its own") as caught:
        footprint(Variant("esr", str(tmp_path), "torch"), tmp_path / "pictures.npy", [1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_video_is_timed_by_stage(weights: Path, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool) -> None:
    monkeypatch.setattr("emotion_perception.engine.evaluation.benchmark.stages._WARM_UP_FRAMES", 2)
    photo = Image.open(portrait).rgb[:256, :256]
    with VideoWriter(tmp_path / "short.mp4", 30, (256, 256)) as writer:
        for n in range(4):
            writer.write(photo, n / 30)
    learner = FacialEmotionLearner(backend="torch")
    learner.load(weights)
    row = video_stages(tmp_path / "short.mp4", Pipeline(learner, Everywhere()), frames=6, ahead=ahead)
    assert row["faces"] == 1.0
    assert row["frames_per_s"] > 0.0
    assert (row["ms"]["wait"] is None) == (not ahead)
    assert all(row["ms"][stage] >= 0.0 for stage in ("decode", "infer", "smooth", "draw"))
    assert 0.0 <= row["searched"] <= 1.0
