from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from emotion_perception.engine.data import Image
from emotion_perception.engine.errors import DownloadError, MissingDependencyError, UsageError, WeightsError
from emotion_perception.engine.target import BoundingBox
from emotion_perception.engine.vision.faces import YUNET, FaceDetector, HaarDetector, Reduced, SharesCopy, YuNetDetector, create_detector

FACES = {
    "fr_biden.jpg": 1,
    "fr_obama-720p.jpg": 1,
    "hri_user_angry.jpg": 1,
    "hri_user_happy.jpg": 1,
    "hri_user_surprised.jpg": 1,
    "pyfeat_multi_face.jpg": 5,
    "fer_no-faces.jpg": 0,
}


@pytest.fixture(scope="module")
def media(test_data: Path) -> dict[str, Image]:
    return {name: Image.open(test_data / "data" / "media" / name) for name in FACES}


@pytest.fixture(scope="module")
def yunet_file(test_data: Path) -> Path:
    return test_data / "weights" / "yunet" / YUNET.name


@pytest.fixture(scope="module")
def yunet(yunet_file: Path) -> YuNetDetector:
    return YuNetDetector(yunet_file)


@pytest.fixture(scope="module")
def haar() -> HaarDetector:
    return HaarDetector()


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without network and without YuNet."""
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EMOTION_PERCEPTION_OFFLINE", "1")
    monkeypatch.delenv("EMOTION_PERCEPTION_MIRROR", raising=False)
    return tmp_path / "cache"


def overlap(a: BoundingBox, b: BoundingBox) -> float:
    width = max(min(a.right, b.right) - max(a.left, b.left), 0.0)
    height = max(min(a.bottom, b.bottom) - max(a.top, b.top), 0.0)
    return width * height / (a.width * a.height + b.width * b.height - width * height)


@pytest.mark.parametrize("max_side", [320, 640])
def test_yunet_finds_every_face_of_real_pictures(media: dict[str, Image], yunet_file: Path, max_side: int) -> None:
    detector = YuNetDetector(yunet_file, max_side=max_side)
    assert {name: len(detector(image)) for name, image in media.items()} == FACES


def test_yunet_faces_come_best_first_with_landmarks_in_place(media: dict[str, Image], yunet: YuNetDetector) -> None:
    faces = yunet(media["pyfeat_multi_face.jpg"])
    scores = [face.box.score for face in faces]
    assert scores == sorted(scores, reverse=True)
    for face in faces:
        assert face.landmarks is not None
        assert face.landmarks.shape == (5, 2)
        assert face.landmarks.dtype == np.float32
        right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
        assert right_eye[0] < nose[0] < left_eye[0]  # the person's right is the picture's left
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
        assert (face.landmarks >= face.box.xyxy[:2]).all()
        assert (face.landmarks <= face.box.xyxy[2:]).all()


def test_yunet_boxes_are_in_pixels_of_the_full_picture(media: dict[str, Image], yunet: YuNetDetector) -> None:
    image = media["fr_obama-720p.jpg"]
    large = Image(np.repeat(np.repeat(image.rgb, 3, axis=0), 2, axis=1))
    small_box, large_box = yunet(image)[0].box, yunet(large)[0].box
    expected = small_box.xyxy * [2, 3, 2, 3]
    assert np.abs(large_box.xyxy - expected).max() < 0.1 * large_box.height


def test_faces_smaller_than_wanted_are_left_out(media: dict[str, Image], yunet_file: Path) -> None:
    image = media["pyfeat_multi_face.jpg"]
    sides = sorted(max(face.box.width, face.box.height) for face in YuNetDetector(yunet_file)(image))
    limit = (sides[1] + sides[2]) / 2
    assert len(YuNetDetector(yunet_file, min_size_px=limit)(image)) == 3


def test_yunet_refuses_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="download yunet"):
        YuNetDetector(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(WeightsError, match="not a YuNet model"):
        YuNetDetector(tmp_path / "text.onnx")


def test_yunet_answers_the_same_from_several_threads(media: dict[str, Image], yunet: YuNetDetector) -> None:
    images = [media["fr_obama-720p.jpg"], media["pyfeat_multi_face.jpg"], media["hri_user_happy.jpg"]] * 3
    alone = [[face.box for face in yunet(image)] for image in images]
    with ThreadPoolExecutor(3) as pool:
        together = [[face.box for face in faces] for faces in pool.map(yunet, images)]
    assert together == alone


@pytest.mark.parametrize("which", ["yunet", "haar"])
def test_limits_may_change_between_pictures(request: pytest.FixtureRequest, portrait: Path, which: str) -> None:
    detector = YuNetDetector(request.getfixturevalue("yunet_file")) if which == "yunet" else HaarDetector()
    image = Image.open(portrait)
    score = detector(image)[0].box.score
    detector.score_threshold = min(score + 0.01, 1.0)
    assert detector.score_threshold > score
    assert all(face.box.score > score for face in detector(image))
    detector.score_threshold = 0.6
    assert detector(image)[0].box.score == pytest.approx(score)
    detector.min_size_px = 4000.0
    assert detector(image) == []
    if which == "yunet":
        with pytest.raises(UsageError, match=r"1\.5"):
            detector.score_threshold = 1.5


@pytest.mark.parametrize("height_width", [(1, 1), (1, 3000), (3000, 1), (7, 5), (32, 320), (8, 160)])
@pytest.mark.parametrize("which", ["yunet", "haar"])
def test_odd_pictures_have_no_faces(which: str, height_width: tuple[int, int], request: pytest.FixtureRequest) -> None:
    detector: FaceDetector = request.getfixturevalue(which)
    assert detector(Image(np.full((*height_width, 3), 90, np.uint8))) == []


@pytest.mark.parametrize("which", ["yunet", "haar"])
def test_detection_leaves_the_picture_alone(which: str, portrait: Path, request: pytest.FixtureRequest) -> None:
    detector: FaceDetector = request.getfixturevalue(which)
    pixels = Image.open(portrait).rgb
    before = pixels.copy()
    pixels.flags.writeable = False
    assert len(detector(Image(pixels))) == 1
    assert (pixels == before).all()


def test_haar_boxes_fit_where_yunet_boxes_do(media: dict[str, Image], yunet: YuNetDetector, haar: HaarDetector) -> None:
    sides, shifts, false = [], [], 0
    for image in media.values():
        truth = [face.box for face in yunet(image)]
        for face in haar(image):
            nearest = max(truth, key=lambda box: overlap(box, face.box))
            if overlap(nearest, face.box) < 0.6:
                false += 1
                continue
            longer = max(nearest.width, nearest.height)
            sides.append(max(face.box.width, face.box.height) / longer)
            shifts.append((np.array(face.box.center_xy) - nearest.center_xy) / longer)
    assert len(sides) >= 7  # of 10
    assert false <= 1
    assert np.median(sides) == pytest.approx(1.0, abs=0.08)
    assert np.abs(np.median(shifts, axis=0)).max() < 0.04


def test_auto_falls_back_to_haar_with_one_warning(empty_cache: Path, portrait: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        detectors = [create_detector(), create_detector("auto")]
    assert [detector.name for detector in detectors] == ["haar", "haar"]
    warnings = [record.getMessage() for record in caplog.records if "Haar" in record.getMessage()]
    assert len(warnings) == 1
    assert "emotion-perception download yunet" in warnings[0]
    assert len(detectors[0](Image.open(portrait))) == 1


@pytest.mark.parametrize("offline", [False, True])
def test_auto_falls_back_to_haar_where_it_may_not_look_into_the_cache(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    # A name that is too long is refused as another user's folder is, to root too.
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(empty_cache.with_name("x" * 300)))
    assert create_detector(offline=offline).name == "haar"


@pytest.mark.parametrize("offline", [False, True])
def test_yunet_by_name_does_not_fall_back(empty_cache: Path, offline: bool) -> None:
    with pytest.raises(DownloadError) as caught:
        create_detector("yunet", offline=offline)
    assert "\n" not in str(caught.value)


def test_auto_takes_yunet_from_the_cache(empty_cache: Path, yunet_file: Path, portrait: Path) -> None:
    empty_cache.mkdir()
    shutil.copy(yunet_file, empty_cache)
    detector = create_detector(offline=True, max_side=320)
    assert detector.name == "yunet"
    assert len(detector(Image.open(portrait))) == 1


def test_an_opencv_without_cascades_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="OpenCV 4") as caught:
        create_detector("haar")
    assert "\n" not in str(caught.value)


def test_an_unknown_detector_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'yunet'"):
        create_detector("yunett")


@pytest.mark.parametrize("limits", [{"min_score": 1.5}, {"min_score": float("nan")}, {"max_side": 8}, {"min_size_px": -1.0}])
def test_limits_out_of_range_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        create_detector("haar", **limits)


@pytest.mark.parametrize("size_hw", [(720, 1280), (540, 960), (405, 721), (1080, 1920), (90, 160), (1, 3000), (333, 320)])
def test_the_reduced_copy_shows_the_same_at_the_size_wanted(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width]
    rgb = np.stack([255 * columns / width, 255 * rows / height, np.full(size_hw, 40)], axis=-1).astype(np.uint8)
    copy = Reduced.of(Image(rgb), 320)
    small_height, small_width = copy.rgb.shape[:2]
    assert max(small_height, small_width) == min(320, max(size_hw))
    assert copy.scale_xy == pytest.approx([width / small_width, height / small_height])
    rows, columns = np.mgrid[:small_height, :small_width] + 0.5
    assert np.abs(copy.rgb[..., 0] - 255 * columns / small_width).max() <= 3
    assert np.abs(copy.rgb[..., 1] - 255 * rows / small_height).max() <= 3 or small_height < 3
    assert copy.grey().shape == copy.rgb.shape[:2]


@pytest.mark.parametrize("which", ["yunet", "haar"])
def test_searching_a_copy_equals_searching_the_picture(which: str, portrait: Path, request: pytest.FixtureRequest) -> None:
    detector, image = request.getfixturevalue(which), Image.open(portrait)
    assert isinstance(detector, SharesCopy)
    (face,), (again,) = detector(image), detector.search(Reduced.of(image, detector.max_side))
    assert np.array_equal(face.box.xyxy, again.box.xyxy)


@pytest.mark.parametrize(("before", "variable", "threads"), [("", None, 1), ("import cv2; cv2.setNumThreads(2)", None, 2), ("", "2", 2)])
def test_opencv_works_in_one_thread_unless_the_program_chose(before: str, variable: str | None, threads: int) -> None:
    code = f"{before}\nfrom emotion_perception.engine.vision.opencv import opencv\nprint(opencv('a test').getNumThreads())"
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_FOR_THREADS_NUM"}
    if variable is not None:
        environment["OPENCV_FOR_THREADS_NUM"] = variable
    out = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout
    assert int(out) == threads
