from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import InputError, MissingDependencyError, StorageError, UsageError, WeightsError
from emotion_perception.engine.inference import Backend, OnnxBackend, TorchBackend
from emotion_perception.engine.inference.onnx_backend import choose_providers


@pytest.fixture(params=["torch", "onnx"])
def backend(request, model, output_names):
    if request.param == "torch":
        return TorchBackend(model, output_names, "cpu")
    return OnnxBackend(request.getfixturevalue("exported"), output_names, "cpu")


def pictures(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, 24, 32)).astype(np.float32)


def test_answers_are_the_networks_own_by_name(backend, model):
    x = pictures(4)
    with torch.no_grad():
        logits, affect = model(torch.from_numpy(x))
    answers = backend(x)
    assert isinstance(backend, Backend)
    assert list(answers) == ["logits", "affect"]
    assert all(type(values) is np.ndarray and values.dtype == np.float32 for values in answers.values())
    np.testing.assert_allclose(answers["logits"], logits.numpy(), atol=1e-5)
    np.testing.assert_allclose(answers["affect"], affect.numpy(), atol=1e-5)


def test_a_batch_equals_its_singles_and_an_empty_one_is_empty(backend):
    x = pictures(5)
    together = backend(x)
    for name, values in together.items():
        np.testing.assert_allclose(np.concatenate([backend(x[i : i + 1])[name] for i in range(5)]), values, atol=1e-5)
    assert {name: values.shape for name, values in backend(x[:0]).items()} == {"logits": (0, 1, 8), "affect": (0, 1, 2)}


def test_the_input_is_not_changed_and_may_be_read_only_or_strided(backend):
    x = pictures(3)
    kept = x.copy()
    x.flags.writeable = False
    expected = backend(x)
    strided = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_allclose(backend(strided)["logits"], expected["logits"], atol=1e-5)


def test_two_threads_get_their_own_answers(backend):
    inputs = [pictures(1 + i % 3, seed=i) for i in range(24)]
    expected = [backend(x)["affect"] for x in inputs]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda x: backend(x)["affect"], inputs))
    for answer, right in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, right, atol=1e-6)


def test_a_picture_without_batch_axis_is_refused(backend):
    with pytest.raises(InputError, match=r"\(n, channels, height, width\).*\(3, 24, 32\)"):
        backend(pictures(1)[0])


def test_a_module_made_in_inference_mode_is_run(model, output_names):
    x = pictures(2)
    with torch.inference_mode():
        inside = TorchBackend(type(model)(), output_names, "cpu")
        within = inside(x)["logits"]
    np.testing.assert_array_equal(inside(x)["logits"], within)


def test_torch_keeps_no_graph_and_answers_in_evaluation_mode_after_training(model, output_names):
    backend = TorchBackend(model, output_names, "cpu")
    x = pictures(4)
    before = backend(x)["logits"]
    statistics = model.features[1].running_mean.clone()
    model.train()
    np.testing.assert_array_equal(backend(x)["logits"], before)
    assert not model.training
    assert torch.equal(model.features[1].running_mean, statistics)
    with torch.no_grad():
        model.scores.bias += 1.0
    np.testing.assert_allclose(backend(x)["logits"], before + 1.0, atol=1e-5)  # the module is shared, not copied
    assert all(p.grad is None for p in model.parameters())


def test_torch_in_bfloat16_answers_in_float32_and_leaves_the_network_as_it_is(model, output_names):
    backend = TorchBackend(model, output_names, "cpu", bf16=True)
    x = pictures(4)
    exact, rounded = TorchBackend(model, output_names, "cpu")(x), backend(x)
    assert backend.name == "torch cpu bf16"
    for name, values in exact.items():
        assert rounded[name].dtype == np.float32
        assert 0.0 < np.abs(rounded[name] - values).max() < 0.03 * np.abs(values).max()
        assert not (rounded[name].view(np.uint32) & 0xFFFF).any()  # the lower half of a bfloat16 that was widened
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    with torch.no_grad():
        model.scores.bias += 1.0
    np.testing.assert_allclose(backend(x)["logits"], rounded["logits"] + 1.0, atol=0.05)  # it follows the network


def test_torch_refuses_a_network_with_another_number_of_outputs(model):
    with pytest.raises(WeightsError, match="2 outputs, expected a tuple of 1: logits"):
        TorchBackend(model, ("logits",), "cpu")(pictures(1))
    with pytest.raises(WeightsError, match=r"Tensor of shape \(2, 16, 9, 13\)"):
        TorchBackend(model.features, ("logits", "affect"), "cpu")(pictures(2))


def test_onnx_tells_path_card_and_where_it_runs(exported, card, output_names):
    backend = OnnxBackend(exported, output_names, "cpu", learner="toy")
    assert backend.path == exported
    assert backend.card == card
    assert backend.name == "onnxruntime cpu"
    assert list(OnnxBackend(exported, ("affect",), "cpu")(pictures(1))) == ["affect"]


def test_onnx_refuses_a_picture_of_another_size(exported, output_names):
    with pytest.raises(InputError, match=r"takes \(n, 3, 24, 32\), got ndarray of shape \(1, 3, 24, 24\)"):
        OnnxBackend(exported, output_names, "cpu")(pictures(1)[:, :, :, :24])


def test_onnx_refuses_what_is_no_model_of_ours(exported, output_names, tmp_path):
    import onnx

    def refused(path, match, **arguments):
        with pytest.raises(WeightsError, match=match) as caught:
            OnnxBackend(path, arguments.pop("output_names", output_names), "cpu", **arguments)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)

    whole = exported.read_bytes()
    for keep in (0, 100, len(whole) // 2, len(whole) - 3):
        cut = tmp_path / f"cut_{keep}.onnx"
        cut.write_bytes(whole[:keep])
        refused(cut, "truncated or not an ONNX model")
    text = tmp_path / "text.onnx"
    text.write_text("weights are elsewhere")
    refused(text, "not an ONNX model")
    refused(tmp_path / "nowhere.onnx", "no ONNX file .* optimize")
    refused(tmp_path, "no ONNX file")
    refused(exported, "of 'toy', expected one of 'esr'", learner="esr")
    refused(exported, r"lacks output 'votes' \(it has affect, logits\)", output_names=("logits", "votes"))

    def changed(name, change):
        proto = onnx.load(exported)
        change(proto)
        onnx.save(proto, tmp_path / name)
        return tmp_path / name

    refused(changed("bare.onnx", lambda proto: proto.ClearField("metadata_props")), "carries no card")
    card_text = onnx.load(exported).metadata_props[0].value
    newer = card_text.replace('"format_version": 1', '"format_version": 99')
    refused(changed("newer.onnx", lambda proto: setattr(proto.metadata_props[0], "value", newer)), "format version 99")
    refused(changed("broken.onnx", lambda proto: setattr(proto.metadata_props[0], "value", card_text[:50])), "broken.onnx")
    refused(changed("list.onnx", lambda proto: setattr(proto.metadata_props[0], "value", "[1]")), "not an object")

    def other_input(proto):
        proto.graph.input[0].name = proto.graph.node[0].input[0] = "x"

    refused(changed("input.onnx", other_input), "takes x, expected images")


def test_providers_follow_the_device_and_what_is_installed():
    gpu = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert choose_providers("auto", gpu) == choose_providers("cuda", gpu) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert choose_providers("cpu", gpu) == ["CPUExecutionProvider"]
    assert choose_providers("auto", ["AzureExecutionProvider", "CPUExecutionProvider"]) == ["CPUExecutionProvider"]
    with pytest.raises(UsageError, match="'gpu', expected one of auto, cpu, cuda"):
        choose_providers("gpu", gpu)
    assert choose_providers("auto", gpu, True) == choose_providers("cuda", gpu, True) == gpu
    assert choose_providers("auto", [gpu[0], gpu[2]], True) == [gpu[0], gpu[2]]
    with pytest.raises(UsageError, match="'tensorrt' was asked for with device 'cpu', expected a GPU; choose device auto"):
        choose_providers("cpu", gpu, True)
    with pytest.raises(UsageError, match="offers CUDAExecutionProvider, CPUExecutionProvider; install onnxruntime-gpu and TensorRT, or"):
        choose_providers("cuda", gpu[1:], True)


@pytest.fixture
def offering_tensorrt(monkeypatch, tmp_path):
    """Lets the installed ONNX Runtime offer TensorRT, as its build for GPUs does without the libraries; returns the providers asked for."""
    import onnxruntime

    real, asked = onnxruntime.InferenceSession, []

    def session(model, options, providers):
        asked.append(providers)
        return real(model, options, providers=providers)

    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / "cache"))
    offered = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return asked


@pytest.fixture
def loading_tensorrt(offering_tensorrt, monkeypatch):
    """Lets sessions say that TensorRT runs them where it was asked for."""
    import onnxruntime

    opening = onnxruntime.InferenceSession

    def session(model, options, providers):
        made = opening(model, options, providers)
        names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        made.get_providers = lambda: names
        return made

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return offering_tensorrt


def test_tensorrt_keeps_the_engine_of_each_content_in_the_cache(loading_tensorrt, exported, output_names, tmp_path):
    import onnx

    proto = onnx.load(exported)
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name.endswith("weight"))
    weight.raw_data = bytes(len(weight.raw_data))
    proto.metadata_props[[entry.value for entry in proto.metadata_props].index("fp32")].value = "fp16"
    other = tmp_path / "other" / exported.name  # all that ONNX Runtime tells engines apart by is the same
    other.parent.mkdir()
    onnx.save(proto, other)
    found = []
    for file in (exported, other):
        backend = OnnxBackend(file, output_names, "auto", tensorrt=True)
        assert backend(pictures(2))["logits"].shape == (2, 1, 8)
        backend.open_session(file.read_bytes())  # a piece of it
        looked, opened, piece = loading_tensorrt[-3:]
        assert looked == ["CPUExecutionProvider"]
        assert opened == piece
        assert [name for name, _ in opened] == ["TensorrtExecutionProvider", "CPUExecutionProvider"]
        found.append((backend.name, opened[0][1]))
    (name, options), (half_name, half_options) = found
    assert (name, half_name) == ("onnxruntime tensorrt", "onnxruntime tensorrt fp16")
    assert [options["trt_fp16_enable"], half_options["trt_fp16_enable"]] == [False, True]
    engines = [Path(each["trt_engine_cache_path"]) for each in (options, half_options)]
    assert engines[0] != engines[1]
    assert all(folder.is_dir() and folder.parent == tmp_path / "cache" / "tensorrt" for folder in engines)
    assert options["trt_timing_cache_path"] == half_options["trt_timing_cache_path"] == str(tmp_path / "cache" / "tensorrt")
    assert options["trt_engine_cache_enable"] is options["trt_timing_cache_enable"] is True


def test_tensorrt_without_its_libraries_warns_once_and_the_name_says_what_runs(offering_tensorrt, exported, output_names, caplog, capsys):
    backend = OnnxBackend(exported, output_names, "auto", tensorrt=True)
    assert backend.name == "onnxruntime cpu"
    (record,) = caplog.records
    assert record.getMessage().endswith("'tensorrt' was asked for but ONNX Runtime cannot load its libraries here; using cpu")
    backend.close()
    assert backend(pictures(2))["logits"].shape == (2, 1, 8)
    assert offering_tensorrt[-1] == ["CPUExecutionProvider"]  # not tried again
    assert capsys.readouterr().out == ""


def test_tensorrt_without_a_place_for_its_engine_says_so(loading_tensorrt, exported, output_names, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"cannot write .*tensorrt.*; choose"):
        OnnxBackend(exported, output_names, "auto", tensorrt=True)


def test_cuda_without_a_gpu_warns_and_runs_on_the_cpu(exported, output_names, caplog):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    backend = OnnxBackend(exported, output_names, "cuda")
    assert backend.name == "onnxruntime cpu"
    assert "no usable GPU here; using the CPU" in caplog.text
    assert backend(pictures(2))["logits"].shape == (2, 1, 8)


def test_without_onnxruntime_the_extra_is_named(exported, output_names, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"onnxruntime.*emotion_perception\[onnx\]"):
        OnnxBackend(exported, output_names)


def test_an_optimised_model_runs_without_torch(exported, model, output_names, tmp_path):
    x = pictures(3)
    np.save(tmp_path / "x.npy", x)
    program = f"""
import sys
import numpy as np
sys.modules["torch"] = None  # importing it is an error
from emotion_perception.engine.inference import OnnxBackend
backend = OnnxBackend({str(exported)!r}, {output_names!r}, "auto", "toy")
np.save({str(tmp_path / "y.npy")!r}, backend(np.load({str(tmp_path / "x.npy")!r}))["affect"])
loaded = [name for name in sys.modules if name.split(".")[0] in ("torch", "onnx", "onnxscript") and sys.modules[name]]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), TorchBackend(model, output_names, "cpu")(x)["affect"], atol=1e-5)
