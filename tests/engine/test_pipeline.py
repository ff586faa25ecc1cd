from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import NotLoadedError, UsageError
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.pipeline import Pipeline, judge_crops
from emotion_perception.engine.target import BoundingBox, Emotions, FloatArray
from emotion_perception.engine.vision.faces import YUNET, Face, FaceDetector, YuNetDetector
from emotion_perception.engine.vision.smoothing import Smoother

COLOURS = {"Happy": (255, 220, 0), "Sad": (0, 0, 255), "Anger": (255, 0, 0), "Disgust": (0, 255, 0)}
CARD = ModelCard(
    learner="colour",
    title="Judges by the mean colour",
    perceives="face",
    input=InputSpec(8, 8),
    labels="affectnet8",
    licence="Apache-2.0",
    paper="none",
    affect=True,
    crop=CropSpec(),
)


class ColourLearner(Learner):
    """A whole learner in a few lines: the class of the nearest colour; red is valence, green arousal."""

    card = CARD
    output_names: ClassVar[tuple[str, ...]] = ("mean",)

    def __init__(self, card: ModelCard = CARD) -> None:
        super().__init__()
        self.card = card
        self.batches: list[int] = []
        self.resets = 0

    def build_model(self, card: ModelCard) -> Any:
        import torch

        return torch.nn.AdaptiveAvgPool2d(1)

    def emotions(self, outputs: Mapping[str, FloatArray]) -> Emotions:
        mean = outputs["mean"]
        labels = self.card.label_set
        references = np.full((len(labels), 3), 0.5, np.float32)
        for word, colour in COLOURS.items():
            references[labels.index(word)] = np.array(colour) / 255
        nearness = np.exp(-20 * np.linalg.norm(mean[:, None] - references, axis=2))
        probabilities = (nearness / nearness.sum(axis=1, keepdims=True)).astype(np.float32)
        affect = (mean[:, :2] * 2 - 1) if self.card.affect else None
        return Emotions(labels, probabilities, affect, extras={"blue": mean[:, 2]})

    def fit(self, dataset: Any = None, val_dataset: Any = None, logging_path: str = "", silent: bool = True, verbose: bool = True) -> Any:
        return {"history": []}

    def eval(self, dataset: Any = None) -> dict[str, Any]:
        return {"accuracy": 1.0}

    def download(self, path: str | Path | None = None, mode: str = "pretrained", url: str | None = None) -> Path:
        return Path(path or self.temp_path)

    def load(self, path: str | Path = "") -> None:
        def backend(x: FloatArray) -> dict[str, FloatArray]:
            self.batches.append(len(x))
            return {"mean": x.mean(axis=(2, 3))}

        self._use(None, backend)  # type: ignore[arg-type]

    def reset(self) -> None:
        self.resets += 1


class PatchDetector:
    """Finds coloured patches on black: connected areas are faces, larger ones score more."""

    name = "patches"

    def __call__(self, image: Image) -> list[Face]:
        import cv2

        count, _, stats, _ = cv2.connectedComponentsWithStats((image.rgb.max(axis=2) > 40).astype(np.uint8))
        found = [
            Face(BoundingBox(float(x), float(y), float(x + w), float(y + h), min(area / 5000, 1.0))) for x, y, w, h, area in stats[1:count]
        ]
        return sorted(found, key=lambda face: -face.box.score)


DETECTOR: FaceDetector = PatchDetector()


def frame(*patches: tuple[str, int, int], size: int = 40, stamp_s: float | None = None) -> Image:
    """A black picture with patches: word of the colour, centre."""
    rgb = np.zeros((240, 320, 3), np.uint8)
    for word, x, y in patches:
        rgb[y - size // 2 : y + size // 2, x - size // 2 : x + size // 2] = COLOURS[word]
    return Image(rgb, stamp_s, "camera_link")


def pipeline(card: ModelCard = CARD, **options: Any) -> tuple[Pipeline, ColourLearner]:
    learner = ColourLearner(card)
    learner.load()
    return Pipeline(learner, DETECTOR, **options), learner


def test_faces_come_left_to_right_each_with_its_own_emotion() -> None:
    run, learner = pipeline()
    image = frame(("Sad", 250, 60), ("Happy", 60, 180), ("Anger", 150, 100), stamp_s=4.5)
    result = run(image)
    assert [face.category.description for face in result.faces] == ["Happy", "Anger", "Sad"]
    assert [face.box.center_xy for face in result.faces] == [(60, 180), (150, 100), (250, 60)]
    assert sorted(face.track_id or 0 for face in result.faces) == [1, 2, 3]
    assert learner.batches == [3]  # all in one batch
    assert (result.faces[1].valence, result.faces[1].arousal) == pytest.approx((1, -1), abs=0.02)
    assert result.faces[2].extras["blue"] == pytest.approx(1.0)
    assert (result.learner, result.labels, result.width, result.height) == ("colour", learner.card.label_set, 320, 240)
    assert (result.index, result.stamp_s, result.frame_id) == (0, 4.5, "camera_link")


def test_the_frame_is_not_changed() -> None:
    run, _ = pipeline()
    image = frame(("Sad", 100, 100))
    before = image.rgb.copy()
    image.rgb.flags.writeable = False
    run(image)
    assert np.array_equal(image.rgb, before)


def test_the_stages_are_timed() -> None:
    run, _ = pipeline()
    latency_ms = run(frame(("Sad", 100, 100))).latency_ms
    assert set(latency_ms) == {"detect", "infer", "total"}
    assert latency_ms["detect"] > 0
    assert latency_ms["infer"] > 0
    assert latency_ms["detect"] + latency_ms["infer"] <= latency_ms["total"]


def test_a_frame_without_faces_is_an_empty_result() -> None:
    run, _ = pipeline()
    result = run(frame())
    assert result.faces == ()
    assert run(frame(("Sad", 50, 50))).index == 1


def test_ids_stay_with_moving_faces_and_return_after_a_short_absence() -> None:
    run, _ = pipeline()
    ids = []
    for step in range(20):
        shown = [("Sad", 40 + 6 * step, 60), ("Anger", 280 - 6 * step, 180)] if step not in (8, 9) else []
        result = run(frame(*shown, stamp_s=step / 10))
        ids.append({face.category.description: face.track_id for face in result.faces})
    assert all(found in (ids[0], {}) for found in ids)
    assert [len(found) for found in ids].count(0) == 2
    assert run(frame(("Sad", 160, 60), stamp_s=60.0)).faces[0].track_id == 3


def test_a_change_of_expression_is_smoothed_by_time() -> None:
    run, _ = pipeline(smoothing_s=0.5)
    run(frame(("Sad", 100, 100), stamp_s=10.0))
    early = run(frame(("Anger", 100, 100), stamp_s=10.1)).faces[0]
    late = run(frame(("Anger", 100, 100), stamp_s=10.6)).faces[0]
    angry = early.category.probabilities[CARD.label_set.index("Anger")]
    assert early.category.description == "Sad"  # the past still weighs more
    assert angry == pytest.approx(1 - math.exp(-0.1 / 0.5), abs=0.01)
    assert late.category.description == "Anger"
    assert late.category.confidence == pytest.approx(1 - math.exp(-0.6 / 0.5), abs=0.01)
    assert early.valence == pytest.approx(-1 + 2 * (1 - math.exp(-0.1 / 0.5)), abs=0.02)
    sudden, _ = pipeline(smoothing_s=0.0)
    sudden(frame(("Sad", 100, 100), stamp_s=10.0))
    assert sudden(frame(("Anger", 100, 100), stamp_s=10.1)).faces[0].category.description == "Anger"


def test_without_stamps_the_clock_is_used() -> None:
    run, _ = pipeline(smoothing_s=30.0)
    run(frame(("Sad", 100, 100)))
    result = run(frame(("Anger", 100, 100)))
    assert result.stamp_s is None
    assert result.faces[0].track_id == 1
    assert result.faces[0].category.description == "Sad"


def test_single_pictures_have_no_ids_and_no_past() -> None:
    run, _ = pipeline(track=False)
    run(frame(("Sad", 100, 100)))
    face = run(frame(("Anger", 100, 100))).faces[0]
    assert face.track_id is None
    assert face.category.description == "Anger"


def test_reset_forgets_everything() -> None:
    run, learner = pipeline(smoothing_s=30.0)
    for stamp_s in (1.0, 1.1):
        run(frame(("Sad", 100, 100), ("Happy", 200, 100), stamp_s=stamp_s))
    run.reset()
    result = run(frame(("Anger", 200, 100), stamp_s=1.2))
    assert (result.index, result.faces[0].track_id, result.faces[0].category.description) == (0, 1, "Anger")
    assert learner.resets == 1


def test_only_the_best_faces_are_judged() -> None:
    run, learner = pipeline(max_faces=2)
    rgb = frame(("Sad", 40, 120), size=20).rgb + frame(("Anger", 150, 120), size=60).rgb + frame(("Happy", 270, 120), size=50).rgb
    assert [face.category.description for face in run(Image(rgb)).faces] == ["Anger", "Happy"]
    assert learner.batches == [2]


def test_the_crop_follows_the_card() -> None:
    # Four times the box around a red patch is mostly black, a quarter of it is all red.
    wide, _ = pipeline(CARD.with_(crop=CropSpec(scale=4.0)))
    narrow, _ = pipeline(CARD.with_(crop=CropSpec(scale=0.25)))
    image = frame(("Anger", 150, 120))
    assert wide(image).faces[0].valence == pytest.approx(-1 + 2 / 16, abs=0.03)
    assert narrow(image).faces[0].valence == pytest.approx(1.0, abs=0.01)


def test_a_scene_learner_judges_the_whole_picture_without_detection() -> None:
    learner = ColourLearner(CARD.with_(perceives="scene", crop=None, affect=False))
    learner.load()
    run = Pipeline(learner)
    assert run.detector is None
    results = [run(Image(np.full((90, 160, 3), COLOURS["Disgust"], np.uint8), stamp_s=i / 10)) for i in range(3)]
    for result in results:
        (entry,) = result.faces
        assert entry.box.xyxy.tolist() == [0, 0, 160, 90]
        assert entry.category.description == "Disgust"
        assert entry.track_id == 1
        assert (entry.valence, entry.arousal) == (None, None)


def test_warming_up_runs_detector_and_network_and_leaves_no_trace() -> None:
    seen: list[tuple[int, int]] = []

    class Watching(PatchDetector):
        def __call__(self, image: Image) -> list[Face]:
            seen.append((image.width, image.height))
            return super().__call__(image)

    learner = ColourLearner()
    learner.load()
    run = Pipeline(learner, Watching())
    run.warm_up((90, 160))
    assert (seen, learner.batches) == ([(160, 90)], [1])
    result = run(frame(("Sad", 100, 100), stamp_s=0.0))
    assert (result.index, result.faces[0].track_id) == (0, 1)
    with pytest.raises(NotLoadedError):
        Pipeline(ColourLearner(), DETECTOR).warm_up()


def test_missing_weights_show_at_the_first_frame_even_without_faces() -> None:
    with pytest.raises(NotLoadedError):
        Pipeline(ColourLearner(), DETECTOR)(frame())


def test_what_a_pipeline_cannot_do_is_refused() -> None:
    with pytest.raises(UsageError, match="clip"):
        Pipeline(ColourLearner(CARD.with_(perceives="clip", crop=None)), DETECTOR)
    with pytest.raises(UsageError, match="max_faces"):
        Pipeline(ColourLearner(), DETECTOR, max_faces=0)


def test_what_may_change_between_frames_does() -> None:
    run, learner = pipeline(smoothing_s=0.0)
    image = frame(("Sad", 60, 60), ("Happy", 160, 60), ("Anger", 260, 60), stamp_s=1.0)
    assert len(run(image).faces) == 3
    run.max_faces, run.smoothing_s = 1, 30.0
    assert len(run(frame(("Sad", 60, 60), ("Happy", 160, 60), stamp_s=1.1)).faces) == 1
    assert learner.batches == [3, 1]
    assert run(frame(("Anger", 60, 60), stamp_s=1.2)).faces[0].category.description == "Sad"  # what came before weighs more now
    run.smoothing_s = 0.0
    assert run(frame(("Anger", 60, 60), stamp_s=1.3)).faces[0].category.description == "Anger"
    with pytest.raises(UsageError, match="-1"):
        run.smoothing_s = -1.0


def test_single_pictures_are_never_smoothed() -> None:
    run, _ = pipeline(track=False)
    run.smoothing_s = 30.0
    assert run.smoothing_s == 0.0
    assert run.track_ids == frozenset()


def test_it_knows_which_faces_may_come_back() -> None:
    run, _ = pipeline()
    run(frame(("Sad", 60, 60), ("Happy", 200, 60), stamp_s=1.0))
    run(frame(stamp_s=1.5))
    assert run.track_ids == {1, 2}
    run(frame(("Sad", 60, 60), stamp_s=2.4))
    assert run.track_ids == {3}  # both were unseen for longer than faces are remembered


def test_crops_are_judged_as_they_are_in_one_batch() -> None:
    learner = ColourLearner(CARD.with_(crop=CropSpec(scale=4.0)))  # were they cut once more, most of each would be border
    learner.load()
    crops = [Image(np.full((30 + i, 20, 3), COLOURS[word], np.uint8), 1.0 + i, "face") for i, word in enumerate(("Sad", "Happy"))]
    crops.append(Image(np.full((5, 5, 3), COLOURS["Anger"], np.uint8)))
    results = judge_crops(learner, crops, [7, None, 9])
    assert learner.batches == [3]
    assert [result.faces[0].category.description for result in results] == ["Sad", "Happy", "Anger"]
    assert [result.faces[0].track_id for result in results] == [7, None, 9]
    assert [(result.stamp_s, result.frame_id) for result in results] == [(1.0, "face"), (2.0, "face"), (None, "")]
    assert results[1].faces[0].box.xyxy.tolist() == [0, 0, 20, 31]
    assert (results[1].width, results[1].height, results[1].learner) == (20, 31, "colour")
    assert results[0].faces[0].extras["blue"] == pytest.approx(1.0)
    assert judge_crops(learner, []) == []


def test_crops_of_one_face_are_smoothed_by_its_own_past() -> None:
    learner = ColourLearner()
    learner.load()
    smoothers = [Smoother(30.0), Smoother(30.0)]
    sad, angry = (np.full((9, 9, 3), COLOURS[word], np.uint8) for word in ("Sad", "Anger"))
    judge_crops(learner, [Image(sad, 5.0), Image(angry, 1.0)], [1, 2], smoothers)
    results = judge_crops(learner, [Image(angry, 5.1), Image(angry, 1.1)], [1, 2], smoothers)
    assert [result.faces[0].category.description for result in results] == ["Sad", "Anger"]


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 2)])
def test_odd_pictures_give_a_result(size: tuple[int, int]) -> None:
    run, _ = pipeline()
    assert len(run(Image(np.full((*size, 3), 255, np.uint8))).faces) == 1


def test_real_faces_keep_their_ids_through_a_real_video(test_data: Path) -> None:
    pytest.importorskip("av")
    from emotion_perception.engine.vision.video import read_video

    learner = ColourLearner()
    learner.load()
    run = Pipeline(learner, YuNetDetector(test_data / "weights" / "yunet" / YUNET.name, max_side=320))
    with read_video(test_data / "data" / "media" / "head-pose-face-detection-female-and-male.gif") as video:
        results = [run(image) for image in video]
    assert len(results) == 56
    assert {tuple(face.track_id for face in result.faces) for result in results} == {(1, 2)}
    assert [result.index for result in results] == list(range(56))


class CountingDetector:
    """Finds one face that stays where it is, and counts how often it is asked."""

    name = "counting"

    def __init__(self) -> None:
        self.searches = 0

    def __call__(self, image: Image) -> list[Face]:
        self.searches += 1
        return [Face(BoundingBox(100.0, 60.0, 180.0, 160.0, 0.9))]


def textured(stamp_s: float) -> Image:
    """A frame in which every place looks different, and all look the same from frame to frame."""
    return Image(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), stamp_s)


@pytest.mark.parametrize(("options", "searches"), [({}, 5), ({"search_interval_s": 0.0}, 30), ({"track": False}, 30)])
def test_faces_of_a_stream_are_searched_now_and_then_and_those_of_single_pictures_always(options: Any, searches: int) -> None:
    learner = ColourLearner()
    learner.load()
    detector = CountingDetector()
    run = Pipeline(learner, detector, **options)
    results, searched = [], []
    for i in range(30):
        results.append(run(textured(i / 30)))
        searched.append(run.searched)
    assert detector.searches == searches == sum(searched)
    assert learner.batches == [1] * 30  # every frame is judged
    assert {face.track_id for result in results for face in result.faces} == {None if options.get("track") is False else 1}
    assert all(np.abs(result.faces[0].box.xyxy - [100, 60, 180, 160]).max() < 0.5 for result in results)


def test_a_face_after_a_cut_is_somebody_else_even_in_the_same_place() -> None:
    learner = ColourLearner()
    learner.load()
    run = Pipeline(learner, CountingDetector(), smoothing_s=1.0)
    dark, bright = (np.full((240, 320, 3), COLOURS[word], np.uint8) for word in ("Sad", "Happy"))
    faces = [run(Image(shown, i / 25)).faces[0] for i, shown in enumerate((dark, dark, bright, bright))]
    assert [face.track_id for face in faces] == [1, 1, 2, 2]
    assert [face.category.description for face in faces] == ["Sad", "Sad", "Happy", "Happy"]
    assert run.track_ids == {2}


def test_the_search_interval_may_change_between_frames() -> None:
    learner = ColourLearner()
    learner.load()
    detector = CountingDetector()
    run = Pipeline(learner, detector, search_interval_s=60.0)
    assert run.detector is detector
    for i in range(10):
        run(textured(i / 30))
    assert (detector.searches, run.search_interval_s) == (2, 60.0)
    run.search_interval_s = 0.0
    for i in range(10, 20):
        run(textured(i / 30))
    assert detector.searches == 12
    with pytest.raises(UsageError, match="-1"):
        run.search_interval_s = -1.0
    single = Pipeline(learner, detector, track=False)
    single.search_interval_s = 5.0
    assert single.search_interval_s == 0.0


def test_warming_up_and_reset_leave_no_face_behind() -> None:
    learner = ColourLearner()
    learner.load()
    detector = CountingDetector()
    run = Pipeline(learner, detector, search_interval_s=60.0)
    run.warm_up((240, 320))
    for i in range(5):
        run(textured(i / 30))
    assert detector.searches == 3
    run.reset()
    run(textured(1.0))
    assert detector.searches == 4
