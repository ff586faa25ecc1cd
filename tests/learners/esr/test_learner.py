"""`FacialEmotionLearner`: voting, the published layout, Grad-CAM access, downloads."""

from __future__ import annotations

import functools
import hashlib
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_perception.engine.cards import WeightFile
from emotion_perception.engine.datasets import AffectNetCategorical, AffectNetDimensional
from emotion_perception.engine.errors import DatasetError, DownloadError, UsageError, WeightsError
from emotion_perception.engine.labels import FERPLUS8
from emotion_perception.engine.testing import DrawnFaces
from emotion_perception.engine.weights import load_torch
from emotion_perception.learners.esr import FacialEmotionLearner, downloads
from emotion_perception.learners.esr.checkpoints import BASE_NAME, BRANCH_NAME, write_published
from emotion_perception.learners.esr.learner import ensemble_of
from emotion_perception.learners.esr.model import ESR


def fresh(branches: int = 2, **options) -> FacialEmotionLearner:
    """Returns a learner with a small fresh network whose affect is within [-1, 1]."""
    learner = FacialEmotionLearner(device="cpu", ensemble_size=branches, input_size=54, **options)
    learner.init_model()
    return learner


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (54, 54, 3), np.uint8)


# ---- voting -------------------------------------------------------------------------------------------------------------


def outputs(*branches: dict[int, float]) -> dict[str, np.ndarray]:
    """Returns one row of outputs: for every branch its probabilities of some classes, the rest shared by the others."""
    each = np.empty((1, len(branches), 8))
    for i, given in enumerate(branches):
        each[0, i] = (1.0 - sum(given.values())) / (8 - len(given))
        each[0, i, list(given)] = list(given.values())
    affect = np.array([[[0.1 * i, -0.2 * i] for i in range(len(branches))]], np.float32)
    return ensemble_of(np.log(each).astype(np.float32), affect)


def test_one_branch_that_is_sure_outweighs_two_that_are_not_by_probability_but_not_by_plurality():
    given = outputs({1: 0.96}, {2: 0.30}, {2: 0.30})
    by_probability = FacialEmotionLearner(voting="probability").emotions(given)
    by_plurality = FacialEmotionLearner(voting="plurality").emotions(given)
    assert by_probability.index.tolist() == [1]
    assert by_plurality.index.tolist() == [2]
    np.testing.assert_array_equal(by_probability.probabilities, by_plurality.probabilities)
    assert by_probability.probabilities[0, 1] == pytest.approx((0.96 + 0.1 + 0.1) / 3, abs=1e-6)
    assert by_plurality.extras["votes"][0].tolist() == [0, 1, 2, 0, 0, 0, 0, 0]
    assert by_probability.extras["agreement"][0] == pytest.approx(1 / 3)
    assert by_plurality.extras["agreement"][0] == pytest.approx(2 / 3)
    assert by_plurality.categories[0].confidence == pytest.approx(float(by_plurality.probabilities[0, 2]))


def test_a_tie_of_votes_is_broken_by_probability_not_by_the_order_of_classes():
    given = outputs({1: 0.5}, {1: 0.5}, {6: 0.9}, {6: 0.9}, {3: 0.99})
    assert FacialEmotionLearner(voting="plurality").emotions(given).index.tolist() == [6]


def test_affect_is_the_mean_with_its_spread_and_stays_in_range():
    emotions = FacialEmotionLearner().emotions(outputs({1: 0.9}, {1: 0.9}, {1: 0.9}))
    np.testing.assert_allclose(emotions.affect, [[0.1, -0.2]], atol=1e-6)
    np.testing.assert_allclose(emotions.extras["affect_spread"], [[np.std([0, 0.1, 0.2]), np.std([0, 0.2, 0.4])]], atol=1e-6)
    assert emotions.extras["probability_spread"].max() == pytest.approx(0.0, abs=1e-6)
    far = ensemble_of(outputs({1: 0.9})["logits"], np.array([[[3.0, -7.0]]], np.float32))
    assert FacialEmotionLearner().emotions(far).affect.tolist() == [[1.0, -1.0]]


def test_large_logits_do_not_overflow():
    logits = np.array([[[0, 1000, -1000, 0, 0, 0, 0, 0]]], np.float32)
    emotions = FacialEmotionLearner().emotions(ensemble_of(logits, np.zeros((1, 1, 2), np.float32)))
    assert emotions.probabilities[0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]


def test_infer_votes_with_the_branches_that_are_loaded_not_with_those_of_the_constructor(tmp_path):
    fresh(3).save(tmp_path)
    learner = FacialEmotionLearner(device="cpu", ensemble_size=1)
    learner.load(tmp_path)
    assert learner.ensemble_size == 3
    assert learner.infer(picture()).extras["votes"].sum() == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voting": "mean"}, "voting is 'mean', expected one of probability, plurality"),
        ({"schedule": "both"}, "schedule is 'both'"),
        ({"affect_fit": "none"}, "affect_fit is 'none'"),
        ({"ensemble_size": 0}, "ensemble_size must be at least 1"),
        ({"branch_share": 0.0}, r"branch_share in \(0, 1\]"),
        ({"input_size": 40}, "at least 54 pixels"),
        ({"seed": -1}, "seed from 0 to 4294967295"),
        ({"lr": 0.0}, "expected lr above 0"),
        ({"validation_interval": 0}, "validation_interval at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        FacialEmotionLearner(**options)


# ---- Grad-CAM -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diversify", [False, True])
def test_the_last_convolution_leads_to_what_forward_returns_and_has_a_gradient(diversify):
    torch.manual_seed(0)
    model = ESR(2, diversify).eval()
    x = torch.rand(2, 3, 96, 96)
    maps = model.last_conv(x).detach().requires_grad_()
    assert maps.shape == (2, 2, 512, 6, 6)
    logits, affect = model.from_last_conv(maps)
    with torch.inference_mode():
        expected = model(x)
    assert torch.equal(logits.detach(), expected[0])
    assert torch.equal(affect.detach(), expected[1])
    logits[:, :, 1].sum().backward()
    weights = maps.grad.mean((3, 4))
    assert (weights.abs().amax(2) > 0).all()  # every branch and picture has a map to show
    only_first = model.from_last_conv(maps)[0][0, 0, 1]
    gradient = torch.autograd.grad(only_first, maps)[0]
    assert (gradient[0, 1] == 0).all()  # a branch's logits depend on its own maps alone
    assert (gradient[1] == 0).all()


# ---- the published layout -----------------------------------------------------------------------------------------------


def published_folder(folder: Path, branches: int = 2, affect: bool = True) -> Path:
    torch.manual_seed(5)
    state = ESR(branches).state_dict()
    write_published(folder, state)
    if not affect:
        for number in range(1, branches + 1):
            file = folder / BRANCH_NAME.format(number)
            torch.save({key: value for key, value in load_torch(file).items() if "fc_dimensional" not in key}, file)
    return folder


def test_published_files_are_saved_and_loaded_as_documented(tmp_path):
    learner = FacialEmotionLearner(device="cpu", ensemble_size=2, base_path_experiment=tmp_path / "experiments")
    learner.init_model()
    learner.save(state_dicts=learner.model.to_state_dict(), base_path_to_save_model=learner.base_path_experiment, current_branch_save=8)
    files = sorted(path.name for path in (tmp_path / "experiments").iterdir())
    assert files == [BASE_NAME, "Net-Branch_1.pt", "Net-Branch_2.pt", "esr_9.json"]

    (tmp_path / "experiments").rename(tmp_path / "moved")
    again = FacialEmotionLearner(device="cpu")
    again.load(2, path_to_saved_network=tmp_path / "moved", fix_backbone=True)
    for name, value in learner.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
    np.testing.assert_array_equal(again.infer(picture()).probabilities, learner.infer(picture()).probabilities)


def test_fewer_branches_may_be_saved_and_loaded(tmp_path):
    learner = fresh(3)
    learner.save(state_dicts=learner.model.to_state_dict(), base_path_to_save_model=tmp_path, current_branch_save=1)
    assert not (tmp_path / "Net-Branch_3.pt").exists()
    one = FacialEmotionLearner(device="cpu")
    one.load(1, path_to_saved_network=tmp_path)
    assert one.ensemble_size == 1
    assert torch.equal(one.model.branches[0].fc.weight, learner.model.branches[0].fc.weight)


def test_weights_without_affect_heads_judge_emotion_alone_until_they_are_trained(tmp_path, stripes):
    learner = FacialEmotionLearner(device="cpu", augment=False, categorical_train=False)
    learner.load(published_folder(tmp_path / "published", affect=False))
    assert learner.card.affect is False
    categories, affect = learner.infer(picture())
    assert affect is None
    assert 0.125 <= categories[0].confidence <= 1.0
    assert "affect_spread" not in learner.infer(picture()).extras
    assert "rmse_valence" not in learner.eval(stripes([0, 1]))

    learner.fit(stripes([0, 1, 2, 3]))
    assert learner.card.affect is True
    assert learner.infer(picture()).affect.shape == (1, 2)
    learner.save(tmp_path / "own")
    again = FacialEmotionLearner(device="cpu")
    again.load(tmp_path / "own")
    np.testing.assert_array_equal(again.infer(picture()).affect, learner.infer(picture()).affect)


def test_published_weights_take_96_pixels_in_rgb(tmp_path):
    learner = FacialEmotionLearner(device="cpu", input_size=54)
    learner.load(published_folder(tmp_path))
    assert (learner.card.input.height, learner.card.input.width, learner.card.input.color) == (96, 96, "rgb")
    red_first, blue_first = learner.infer(picture()), learner.infer(picture()[..., ::-1].copy(), color="bgr")
    np.testing.assert_array_equal(red_first.probabilities, blue_first.probabilities)


def test_what_cannot_be_loaded_leaves_the_learner_as_it_was(tmp_path):
    learner = fresh(2)
    before = learner.infer(picture()).probabilities
    folder = published_folder(tmp_path / "published")
    (folder / "Net-Branch_2.pt").write_bytes((folder / "Net-Branch_2.pt").read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"Net-Branch_2\.pt"):
        learner.load(folder)
    with pytest.raises(UsageError, match="ensemble_size is 0"):
        learner.load(0, path_to_saved_network=folder)
    assert learner.ensemble_size == 2
    np.testing.assert_array_equal(learner.infer(picture()).probabilities, before)


def test_a_training_that_is_refused_leaves_the_learner_as_it_was(tmp_path):
    learner = FacialEmotionLearner(device="cpu", input_size=54)
    learner.load(published_folder(tmp_path))
    before = learner.card
    with pytest.raises(DatasetError, match="counts in ferplus8"):
        learner.fit(DrawnFaces(FERPLUS8, 8, side=32))
    assert learner.card == before


# ---- evaluation ---------------------------------------------------------------------------------------------------------


def test_eval_measures_the_ensemble_every_branch_and_the_first_few(stripes):
    learner, data = fresh(3), stripes(np.arange(16) % 8)
    result = learner.eval(data)
    assert len(result["branches"]) == 3
    first = learner.eval(data, current_branch_on_training=0)
    assert first["accuracy"] == first["branches"][0]["accuracy"] == result["branches"][0]["accuracy"]
    with pytest.raises(UsageError, match="the network has branches 0 to 2"):
        learner.eval(data, current_branch_on_training=3)
    with pytest.raises(UsageError, match="eval_type is 'both'"):
        learner.eval(eval_type="both")


# ---- downloads ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["file", "http"])
def address(request, tmp_path):
    """A folder and its address, as a file URL or on a server of this machine."""
    folder = tmp_path / "server"
    folder.mkdir()
    if request.param == "file":
        yield folder, folder.as_uri()
        return

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_pretrained_fetches_verifies_and_can_be_loaded(address, tmp_path, monkeypatch, caplog):
    folder, url = address
    published_folder(folder)
    names = [BASE_NAME, BRANCH_NAME.format(1), BRANCH_NAME.format(2)]
    digests = [f"sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}" for name in names]
    files = tuple(WeightFile(name, f"https://nowhere.invalid/{name}", digest) for name, digest in zip(names, digests, strict=True))
    monkeypatch.setattr(downloads, "PUBLISHED_FILES", files)
    learner = FacialEmotionLearner(device="cpu", temp_path=tmp_path / "temp")
    target = learner.download(mode="pretrained", url=url)
    assert sorted(path.name for path in target.iterdir()) == sorted(names)
    assert "not for commercial use" in caplog.text
    learner.load(target)
    assert learner.ensemble_size == 2

    (folder / names[1]).unlink()  # what is there already needs no address
    assert learner.download(mode="pretrained", url=url) == target
    (target / names[1]).write_bytes(b"damaged")
    with pytest.raises(DownloadError) as error:
        learner.download(mode="pretrained", url=url)
    assert names[1] in str(error.value)
    assert "\n" not in str(error.value)


def test_data_is_unpacked_and_becomes_the_learners_data_set(address, tmp_path):
    folder, url = address
    made = FacialEmotionLearner().download(tmp_path / "made", mode="data")
    with zipfile.ZipFile(folder / "AffectNet.zip", "w") as packed:
        for file in sorted(made.rglob("*.jpg")):
            packed.write(file, Path("AffectNet") / file.relative_to(made))
    learner = FacialEmotionLearner(device="cpu", temp_path=tmp_path / "temp")
    target = learner.download(mode="data", url=f"{url}/AffectNet.zip")
    assert target == learner.dataset_path
    assert sorted(path.name for path in target.iterdir()) == ["Training_Labeled", "Validation"]
    assert len(AffectNetCategorical(idx_set=2, base_path_to_affectnet=target)) == 16
    (folder / "AffectNet.zip").unlink()
    assert learner.download(mode="data", url=f"{url}/AffectNet.zip") == target


def test_a_zip_file_that_is_none_is_refused_and_asked_for_again(address, tmp_path):
    folder, url = address
    (folder / "data.zip").write_bytes(b"<html>not found</html>")
    learner = FacialEmotionLearner(device="cpu")
    with pytest.raises(DownloadError, match="is not a zip file"):
        learner.download(tmp_path / "temp", mode="data", url=f"{url}/data.zip")
    assert [path for path in (tmp_path / "temp").rglob("*") if path.is_file()] == []
    with zipfile.ZipFile(folder / "data.zip", "w") as packed:
        packed.writestr("Validation/0/1s1s500s500.jpg", b"x")
    assert (learner.download(tmp_path / "temp", mode="data", url=f"{url}/data.zip") / "Validation").is_dir()


def test_a_given_picture_or_video_is_fetched_under_its_name(address, tmp_path, portrait):
    folder, url = address
    (folder / "face.png").write_bytes(portrait.read_bytes())
    query = "?download=1" if url.startswith("http") else ""
    learner = FacialEmotionLearner(device="cpu")
    file = learner.download(tmp_path / "temp", mode="demo_image", url=f"{url}/face.png{query}")
    assert file.name == "face.png"
    assert file.read_bytes() == portrait.read_bytes()
    with pytest.raises(DownloadError) as error:
        learner.download(tmp_path / "temp", mode="demo_video", url=f"{url}/missing.mp4")
    assert "missing.mp4" in str(error.value)


@pytest.mark.usefixtures("no_network")
class TestWithoutAnAddress:
    @pytest.fixture
    def no_network(self, monkeypatch):
        monkeypatch.setenv("EMOTION_PERCEPTION_OFFLINE", "1")

    def test_sample_data_has_affectnets_layout_with_every_class_and_quadrant(self, tmp_path):
        learner = FacialEmotionLearner(device="cpu")
        folder = learner.download(tmp_path, mode="data")
        for part in (0, 2):
            categorical = AffectNetCategorical(idx_set=part, base_path_to_affectnet=folder)
            assert categorical.counts() == dict.fromkeys(categorical.labels.words, 2)
            affect = AffectNetDimensional(idx_set=part, base_path_to_affectnet=folder).targets.affect
            assert {tuple(row) for row in np.sign(affect).astype(int).tolist()} == {(1, 1), (-1, 1), (-1, -1), (1, -1)}
        assert learner.download(tmp_path, mode="data") == folder

    def test_the_demo_picture_is_the_bundled_portrait(self, tmp_path, portrait):
        assert FacialEmotionLearner().download(tmp_path, mode="demo_image").read_bytes() == portrait.read_bytes()

    def test_the_demo_video_can_be_read_and_moves(self, tmp_path):
        pytest.importorskip("av")
        from emotion_perception.engine.vision.video import read_video

        file = FacialEmotionLearner().download(tmp_path, mode="demo_video")
        with read_video(file) as video:
            frames = list(video)
        assert len(frames) == 100
        assert {frame.rgb.shape for frame in frames} == {(240, 320, 3)}
        stamps = [frame.stamp_s for frame in frames]
        np.testing.assert_allclose(np.diff(stamps), 1 / 25, atol=2e-3)
        assert np.abs(frames[0].rgb.astype(int) - frames[50].rgb).mean() > 5

    def test_pretrained_says_what_is_missing(self, tmp_path):
        with pytest.raises(DownloadError, match="EMOTION_PERCEPTION_OFFLINE") as error:
            FacialEmotionLearner().download(tmp_path, mode="pretrained")
        assert "\n" not in str(error.value)

    def test_an_unknown_mode_names_the_nearest(self, tmp_path):
        with pytest.raises(UsageError, match="did you mean 'pretrained'"):
            FacialEmotionLearner().download(tmp_path, mode="pretrain")
