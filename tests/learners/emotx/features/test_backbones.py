from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.errors import UsageError, WeightsError
from emotion_perception.learners.emotx.features.backbones.catalogue import FACES, SCENES
from emotion_perception.learners.emotx.features.backbones.inception_resnet import InceptionResnetV1
from emotion_perception.learners.emotx.features.backbones.mvit import MViT, without_twins
from emotion_perception.learners.emotx.features.backbones.preparation import FACENET, FER_RESNET, IMAGENET, KINETICS
from emotion_perception.learners.emotx.features.backbones.resnet import ResNet, from_dag
from emotion_perception.learners.emotx.features.extractors import Extractors


def parameters(build) -> int:
    with torch.device("meta"):
        return sum(value.numel() for value in build().parameters())


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (ResNet, 25_557_032),
        (SCENES["generic"].build, 60_192_808),
        (SCENES["resnet50_places"].build, 25_557_032 - 635 * 2049),
        (FACES["resnet50_fer"].build, 23_522_439),
        (FACES["emo"].build, 98_860_359),
        (FACES["generic"].build, 27_910_327),
        (SCENES["mvit_v1"].build, 36_611_440),
    ],
    ids=["resnet50", "resnet152", "resnet50_places", "resnet50_fer", "vgg_m", "inception_resnet", "mvit"],
)
def test_parameters_are_those_of_the_public_sources(build, count: int) -> None:
    # The last four and the first two were counted in networks that pytorchvideo, facenet-pytorch, timm and EmoTx' code built.
    assert parameters(build) == count


@pytest.mark.parametrize(("kinds", "name"), [(SCENES, name) for name in SCENES] + [(FACES, name) for name in FACES])
def test_the_features_have_the_stated_width(kinds, name: str) -> None:
    # The classifier behind the features says how wide they are.
    with torch.device("meta"):
        layers = [layer for layer in kinds[name].build().modules() if isinstance(layer, torch.nn.Linear)]
    assert layers[-1].in_features == kinds[name].width


BUILD = {
    "mvit": lambda: MViT(frames=4, side=64, width=16, depth=4, scaling_blocks=(1, 3), classes=5),
    "resnet": lambda: ResNet((1, 1, 1, 1), classes=5),
    "resnet50_fer": FACES["resnet50_fer"].build,
    "inception_resnet": lambda: InceptionResnetV1(classes=5),
}


@pytest.mark.parametrize("name", list(BUILD))
def test_the_features_are_those_of_the_public_source(golden, name: str) -> None:
    page = golden("emotx_backbones")
    case = page.cases[name]
    network = BUILD[name]().eval()
    assert sum(value.numel() for value in network.parameters()) == case["parameters"]
    if name == "resnet50_fer":  # the formula goes by the published names
        from_published = DagNamed(network)
        page.fill(from_published, case["weights"])
        network.load_state_dict(from_dag(from_published.state_dict()))
    else:
        page.fill(network, case["weights"])
    given = case["input"]
    with torch.no_grad():
        features = network(given["scale"] * page.tensor(given["key"], given["shape"], given["seed"])).double().numpy()
    expected = case["output"]
    assert list(features.shape) == expected["shape"]
    scale = expected["sum_abs"] / features.size
    np.testing.assert_allclose(features[:, :8], expected["first8"], rtol=1e-4, atol=1e-4 * scale)
    assert abs(features.sum() - expected["sum"]) < 1e-4 * expected["sum_abs"]
    assert np.abs(features).sum() == pytest.approx(expected["sum_abs"], rel=1e-4)


class DagNamed(torch.nn.Module):
    """The tensors of a ResNet under their published names."""

    def __init__(self, network: ResNet) -> None:
        super().__init__()
        renamed = from_dag({name: torch.zeros(()) for name in DAG_NAMES})
        self.published = dict(zip(renamed, DAG_NAMES, strict=True))
        assert set(self.published) == set(network.state_dict())
        self.tensors = {self.published[name]: value.clone() for name, value in network.state_dict().items()}

    def state_dict(self, *args, **kwargs):
        return dict(self.tensors)

    def load_state_dict(self, state, *args, **kwargs):
        self.tensors = dict(state)


DAG_PARTS = {
    "conv": ("weight",),
    "bn": ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
}
DAG_NAMES = [
    *("conv1_conv.weight", "conv1_conv.bias", "prediction.weight", "prediction.bias"),
    *(f"conv1_bn.{part}" for part in DAG_PARTS["bn"]),
    *(
        f"conv{stage}_{block}{step}_{kind}.{part}"
        for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
        for block in range(1, blocks + 1)
        for step in ("a", "b", "c", *(("_adapt",) if block == 1 else ()))
        for kind, parts in DAG_PARTS.items()
        for part in parts
    ),
]


def test_pools_that_are_stored_twice_count_once() -> None:
    own = {"blocks.1.attn.pool_q.weight": torch.ones(1), "blocks.1.attn.norm_q.bias": torch.zeros(1)}
    twins = {"blocks.1.attn._attention_pool_q.pool.weight": torch.ones(1), "blocks.1.attn._attention_pool_q.norm.bias": torch.zeros(1)}
    assert without_twins({**own, **twins}).keys() == without_twins(twins).keys() == own.keys()


def test_a_picture_is_squeezed_and_scaled_as_published() -> None:
    flat = np.full((90, 120, 3), (100, 150, 200), np.uint8)
    assert IMAGENET(flat).shape == (3, 224, 224)
    np.testing.assert_allclose(
        IMAGENET(flat)[:, 5, 7], [(100 / 255 - 0.485) / 0.229, (150 / 255 - 0.456) / 0.224, (200 / 255 - 0.406) / 0.225], rtol=1e-5
    )
    np.testing.assert_allclose(FER_RESNET(flat)[:, 0, 0], [100 - 131.8833, 150 - 105.5117, 200 - 92.5694], rtol=1e-5)
    assert FACENET(flat).shape == (3, 160, 160)
    np.testing.assert_allclose(FACENET(flat)[:, 80, 80], [-27.5 / 128, 22.5 / 128, 72.5 / 128], rtol=1e-6)
    # Whatever the proportions, the left half stays the left half.
    halves = np.zeros((50, 300, 3), np.uint8)
    halves[:, :150] = 255
    columns = FACENET(halves)[0, 0]
    assert columns[:75].min() > 0.99
    assert columns[85:].max() < -0.99


@pytest.mark.parametrize(("height", "width"), [(300, 400), (401, 256), (120, 213)])
def test_a_frame_of_a_clip_is_scaled_and_cut_as_published(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    # By hand: floats, shorter side 256, bilinear without rounding, middle 224.
    short = min(height, width)
    size = int(256 * height / short), int(256 * width / short)
    scaled = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), size=size, mode="bilinear", align_corners=False
    )[0]
    top, left = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    expected = (scaled[:, top : top + 224, left : left + 224] / 255 - 0.45) / 0.225
    np.testing.assert_allclose(KINETICS(pixels), expected.numpy(), atol=2e-4)


@pytest.mark.parametrize("name", ["mvit_v1", "resnet50_places", "generic"])
def test_scene_features_of_published_files(small_backbones: Path, name: str) -> None:
    scene = Extractors(scene_feat_type=name, backbones=small_backbones, device="cpu").scene
    frame = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    feature = scene([frame])
    assert feature.shape == (scene.width,)
    assert feature.dtype == np.float32
    assert feature.std() > 0
    np.testing.assert_array_equal(feature, scene([frame]))
    if scene.frames > 1:  # what is missing at the end is grey
        grey = np.zeros_like(scene.window([scene.prepare(frame)])[:, 1:])
        np.testing.assert_array_equal(scene.window([scene.prepare(frame)])[:, 1:], grey)
        assert np.abs(feature - scene([frame] * scene.frames)).max() > 0
    with pytest.raises(ValueError, match="sees 1 to"):
        scene([])


@pytest.mark.parametrize("name", ["resnet50_fer", "emo", "generic"])
def test_face_features_of_published_files(small_backbones: Path, name: str) -> None:
    face = Extractors(face_feat_type=name, backbones=small_backbones, device="cpu").face
    random = np.random.default_rng(0)
    crops = [random.integers(0, 256, (side, side + 9, 3), dtype=np.uint8) for side in (30, 200)]
    features = face(crops)
    assert features.shape == (2, face.width)
    assert face([]).shape == (0, face.width)
    np.testing.assert_allclose(features[1], face(crops[1:])[0], atol=1e-5)
    if name == "generic":
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"uint8 RGB pictures, got ndarray of shape \(4, 4\)"):
        face([np.zeros((4, 4), np.uint8)])


def test_a_missing_file_is_named_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        WeightsError, match=r"'MVIT_B_32x3_f294077834.pyth', which is not in .*fbaipublicfiles.*download emotx --mode backbones"
    ):
        _ = Extractors(backbones=tmp_path).scene
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=f"which is not in '{tmp_path}/emotx/backbones'"):
        _ = Extractors().face


def test_another_networks_file_is_refused(small_backbones: Path, tmp_path: Path) -> None:
    name = SCENES["generic"].files[0]
    (tmp_path / name).write_bytes((small_backbones / FACES["emo"].files[0]).read_bytes())
    with pytest.raises(WeightsError, match="ResNet-152"):
        _ = Extractors(scene_feat_type="generic", backbones=tmp_path).scene
    (tmp_path / name).write_bytes(b"not a torch file")
    with pytest.raises(WeightsError, match="cannot read weights file"):
        _ = Extractors(scene_feat_type="generic", backbones=tmp_path).scene


def test_unknown_kinds_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'mvit_v1'"):
        Extractors(scene_feat_type="mvit_v2")
    with pytest.raises(UsageError, match="did you mean 'resnet50_fer'"):
        Extractors(face_feat_type="resnet50fer")
    with pytest.raises(UsageError, match="device"):
        Extractors(device="gpu")
