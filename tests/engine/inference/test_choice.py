"""The choice between back ends: measured once, remembered for machine and weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.inference import OnnxBackend, choice
from emotion_perception.learners.esr import FacialEmotionLearner

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    learner = FacialEmotionLearner(ensemble_size=2, input_size=54)
    learner.init_model()
    return learner.save(tmp_path_factory.mktemp("weights") / "esr")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def made(weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes and loads a learner, with a cache of its own that lasts for all tests of this file."""
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(cache))
    monkeypatch.delenv(choice.TUNE_VARIABLE, raising=False)

    def make(backend: str = "auto", device: str = "cpu") -> FacialEmotionLearner:
        learner = FacialEmotionLearner(device=device, backend=backend)
        learner.load(weights)
        return learner

    return make


def face() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (54, 54, 3), np.uint8)


def prefer(monkeypatch: pytest.MonkeyPatch, fastest: str) -> None:
    """Lets the clock say which one is fastest: the tests' own machine would answer now this, now that."""
    real = choice.measure

    def measured(backends, card):
        assert set(real(backends, card)) == {"torch", "onnxruntime"}
        return {name: 1.0 if name == fastest else 2.0 for name in backends}

    monkeypatch.setattr(choice, "measure", measured)


@pytest.mark.parametrize("fastest", ["torch", "onnxruntime"])
def test_what_is_the_fastest_is_measured_once_and_remembered(made, cache: Path, monkeypatch: pytest.MonkeyPatch, fastest: str) -> None:
    for notes in cache.glob("exported/*/fastest.json"):
        notes.unlink()
    learner = made()
    assert learner.backend_name == "torch cpu"
    wanted = learner.infer(face()).probabilities
    prefer(monkeypatch, fastest)
    assert learner.tune() == f"{fastest} cpu"
    (notes,) = cache.glob("exported/esr-*/fastest.json")
    ((machine, known),) = json.loads(notes.read_text()).items()
    assert "threads" in machine
    assert (known["backend"], set(known["ms"])) == (fastest, {"torch", "onnxruntime"})

    def never(*given):
        raise AssertionError("measured twice")

    monkeypatch.setattr(choice, "measure", never)
    again = made()
    assert again.backend_name == f"{fastest} cpu"
    assert again.tune() == f"{fastest} cpu"
    np.testing.assert_allclose(again.infer(face()).probabilities, wanted, atol=1e-4)
    np.testing.assert_array_equal(again.model.base.conv1.weight.detach(), learner.model.base.conv1.weight.detach())


def test_other_weights_are_not_mistaken_for_them(made, weights: Path, tmp_path: Path) -> None:
    made("onnxruntime")
    other = FacialEmotionLearner(ensemble_size=2, input_size=54, seed=1)
    other.init_model()
    other.save(tmp_path / "other")
    learner = FacialEmotionLearner(device="cpu")
    learner.load(tmp_path / "other")
    assert learner.backend_name == "torch cpu"


def test_onnxruntime_exports_where_that_was_not_done_and_torch_never_does(made, cache: Path) -> None:
    before = [file.stat().st_mtime_ns for file in cache.glob("exported/*/model.onnx")]
    learner = made("onnxruntime")
    assert isinstance(learner._backend, OnnxBackend)
    if before:
        assert before == [file.stat().st_mtime_ns for file in cache.glob("exported/*/model.onnx")]
    assert made("torch").backend_name == "torch cpu"
    assert made("torch").tune() == "torch cpu"


def test_loading_a_folder_again_undoes_what_was_trained_since(made, weights: Path) -> None:
    learner = made("onnxruntime")
    before = learner.model.base.conv1.weight.detach().clone()
    with torch.no_grad():
        learner.model.base.conv1.weight += 1.0
    learner.load(weights)
    assert torch.equal(learner.model.base.conv1.weight, before)


def test_an_exported_folder_is_run_without_torch(made, tmp_path: Path) -> None:
    learner = made("torch")
    learner.temp_path = tmp_path / "temp"
    learner.optimize()
    folder = learner.save(tmp_path / "exported")
    code = f"""
import sys
from emotion_perception.learners.esr import FacialEmotionLearner
import numpy as np
learner = FacialEmotionLearner(device="cpu")
learner.load({str(folder)!r})
learner.infer(np.zeros((54, 54, 3), np.uint8))
assert "torch" not in sys.modules, "torch was imported"
print(learner.backend_name, learner.model.base.conv1.out_channels)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "onnxruntime cpu 64"
    torch_only = made("torch")
    torch_only.load(folder)
    assert torch_only.backend_name == "torch cpu"


def test_tuning_can_be_forbidden(made, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for notes in cache.glob("exported/*/fastest.json"):
        notes.unlink()
    monkeypatch.setenv(choice.TUNE_VARIABLE, "0")
    assert made().tune() == "torch cpu"
    assert not list(cache.glob("exported/*/fastest.json"))


def test_notes_that_cannot_be_read_are_measured_anew(made, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made("onnxruntime")
    (model,) = {file for file in cache.glob("exported/*/model.onnx") if file.stat().st_size}
    model.with_name("fastest.json").write_text("{")
    learner = made()
    assert learner.backend_name == "torch cpu"
    prefer(monkeypatch, "onnxruntime")
    assert learner.tune() == "onnxruntime cpu"


def test_a_cache_that_cannot_be_used_is_done_without(made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def never(*given):
        raise AssertionError("measured for nothing")

    monkeypatch.setattr(choice, "measure", never)
    # A name that is too long is refused as another user's folder is, to root too.
    for closed in (tmp_path / ("x" * 300), tmp_path / "file"):
        monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(closed))
        assert not choice.is_known("esr")
        assert made().tune() == "torch cpu"


def test_what_is_the_fastest_is_said_where_it_cannot_be_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert choice.Choice(tmp_path / "file" / "model.onnx", "here").remember({"torch": 2.0, "onnxruntime": 1.0}) == "onnxruntime"


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(UsageError, match="backend is 'tensorflow', expected one of auto, torch, torch_bf16, onnxruntime, tensorrt"):
        FacialEmotionLearner(backend="tensorflow")


def test_tensorrt_exports_as_onnxruntime_does_and_runs_the_anytime_ensemble_too(made, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    import onnxruntime

    real, asked = onnxruntime.InferenceSession, []

    def session(model, options, providers):
        names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        asked.append(names)
        opened = real(model, options, providers=providers)
        opened.get_providers = lambda: names
        return opened

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    learner = made("tensorrt", "auto")
    assert learner.backend_name == "onnxruntime tensorrt"
    wanted = made("torch").infer(face()).probabilities
    np.testing.assert_allclose(learner.infer(face()).probabilities, wanted, atol=1e-4)
    del asked[:]
    learner.budget_ms = 1e6
    np.testing.assert_allclose(learner.infer(face()).probabilities, wanted, atol=1e-4)
    assert asked == [["TensorrtExecutionProvider", "CPUExecutionProvider"]] * 3  # the shared layers and two groups of branches
    assert "tensorrt" not in made("auto", "auto").backend_name
    learner.temp_path = tmp_path
    learner.optimize()
    assert learner.backend_name == "onnxruntime tensorrt"


def test_tensorrt_is_refused_where_it_cannot_be(made) -> None:
    import onnxruntime

    with pytest.raises(UsageError, match="'tensorrt' was asked for with device 'cpu'"):
        made("tensorrt")
    if "TensorrtExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(UsageError, match="install onnxruntime-gpu and TensorRT, or choose another backend"):
            made("tensorrt", "auto")


def test_the_words_for_back_ends_are_the_same_everywhere() -> None:
    from typing import get_args

    from emotion_perception.commands._common import BackendOption
    from emotion_perception.engine.devices import BACKENDS

    assert get_args(BackendOption)[1].metavar == "|".join(BACKENDS)
    parameters = pytest.importorskip("emotion_perception.ros2_nodes.parameters", exc_type=ImportError)
    (setting,) = (each for each in parameters.common("esr") if each.name == "backend")
    assert setting.choices == BACKENDS
