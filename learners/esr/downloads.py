"""What `FacialEmotionLearner.download` fetches, and what it makes where nothing can be had without a licence or a network."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from emotion_perception.engine.downloads import fetch, fetch_url
from emotion_perception.engine.errors import DownloadError, unknown_name
from emotion_perception.engine.storage import atomic_write, folder_update
from emotion_perception.learners.esr.checkpoints import PUBLISHED_FILES

logger = logging.getLogger(__name__)

MODES = ("data", "pretrained", "demo_image", "demo_video")
PORTRAIT = Path(__file__).resolve().parents[2] / "engine" / "assets" / "astronaut.png"
# Where the face is in the portrait: left, top, side of a square, in pixels.
_FACE = (168, 50, 120)


def download(folder: Path, mode: str, url: str | None) -> Path:
    """Fetches or makes what a mode stands for.

    Args:
        folder: Where to put it.
        mode: ``pretrained``: the published ESR-9, ten verified files; ``url`` is another folder they lie in. ``data``: a data set in
            AffectNet's layout, as a zip file at ``url``; AffectNet itself is only given by its authors, so without ``url`` a few
            crops of the bundled portrait are written in its layout, enough to try the code. ``demo_image``, ``demo_video``: the file
            at ``url``; without it the bundled portrait, and a short video over it.
        url: Address (http, https or file) or None.

    Returns:
        The folder of weights or data, or the file.

    Raises:
        UsageError: Unknown mode.
        DownloadError: Not reachable, or not what was expected.
    """
    if mode == "pretrained":
        target = folder / "pretrained" / "esr_9"
        logger.warning("the published ESR-9 weights are not for commercial use (terms of AffectNet)")
        for file in PUBLISHED_FILES:
            fetch(file, target, None if url is None else f"{url.rstrip('/')}/{file.name}")
        return target
    if mode == "data":
        return _sample_data(folder / "data" / "AffectNet_sample") if url is None else _unpacked(folder / "data", url)
    if mode in ("demo_image", "demo_video"):
        if url is not None:
            return fetch_url(url, folder / mode / _name_in(url, mode))
        return _portrait(folder / mode / "portrait.png") if mode == "demo_image" else _portrait_video(folder / mode / "portrait.mp4")
    raise unknown_name("download mode", mode, MODES)


def _unpacked(folder: Path, url: str) -> Path:
    """Fetches a zip file and unpacks it; returns the folder in it that holds AffectNet's layout, or all of it."""
    archive = fetch_url(url, folder / _name_in(url, "data.zip"))
    target = folder / archive.stem
    if not target.is_dir():
        try:
            with zipfile.ZipFile(archive) as packed, folder_update(target) as staging:
                packed.extractall(staging)
        except zipfile.BadZipFile:
            if archive.resolve() != Path(url).resolve():
                archive.unlink()  # or the next call would take it for what it asks for
            raise DownloadError(f"{url!r} is not a zip file; give the address of a zip file in AffectNet's layout") from None
    inner = [path for path in target.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 and inner[0].name not in ("Training_Labeled", "Training_Unlabeled", "Validation") else target


def _name_in(url: str, default: str) -> str:
    """Returns the file name that an address ends in, without a query such as ``?download=1``."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2] or default


def _sample_data(target: Path) -> Path:
    """Writes shifted crops of the bundled portrait in AffectNet's layout, two for every class and quadrant in both parts."""
    from PIL import Image as PillowImage

    logger.warning("AffectNet is given by its authors only; to try the code, crops of one portrait with made-up labels stand in")
    random = np.random.default_rng(0)
    left, top, side = _FACE
    affects = [(500, 500), (-500, 500), (-500, -500), (500, -500)]
    if not target.is_dir():
        with PillowImage.open(PORTRAIT) as portrait, folder_update(target) as staging:
            for part in ("Training_Labeled", "Validation"):
                (staging / part / "0").mkdir(parents=True)
                for number in range(16):
                    x, y = (random.integers(-12, 13, size=2) + np.array([left, top])).tolist()
                    valence, arousal = affects[number % 4]
                    face = portrait.convert("RGB").crop((x, y, x + side, y + side)).resize((96, 96))
                    face.save(staging / part / "0" / f"{number:07d}s{number % 8}s{valence}s{arousal}.jpg", quality=92)
    return target


def _portrait(target: Path) -> Path:
    with atomic_write(target) as temporary:
        temporary.write_bytes(PORTRAIT.read_bytes())
    return target


def _portrait_video(target: Path, seconds: int = 4, fps: int = 25) -> Path:
    """Makes a video that moves over the portrait and off the face, 320x240."""
    from PIL import Image as PillowImage

    from emotion_perception.engine.vision.video import VideoWriter

    if not target.is_file():
        with PillowImage.open(PORTRAIT) as picture:
            portrait = np.asarray(picture.convert("RGB"))
        with VideoWriter(target, fps, (320, 240)) as writer:
            for number in range(seconds * fps):
                progress = number / (seconds * fps - 1)
                x, y = round(30 + 60 * np.sin(3.0 * progress)), round(200 * max(0.0, progress - 0.4))
                writer.write(portrait[y : y + 240, x : x + 320])
    return target
