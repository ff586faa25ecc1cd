"""What ``download`` fetches for EmoTx: the addresses that were published, and what to do where they are dead."""

from __future__ import annotations

import logging
from pathlib import Path

from emotion_perception.engine.cards import WeightFile
from emotion_perception.engine.downloads import fetch as fetch_file
from emotion_perception.engine.errors import DownloadError, WeightsError, unknown_name
from emotion_perception.learners.emotx.card import shared
from emotion_perception.learners.emotx.features.backbones.catalogue import FACES, SCENES, TEXT_ADDRESS, TEXT_FOLDER, text_files

logger = logging.getLogger(__name__)

MODES = ("backbones", "features", "synthetic", "synthetic-small")  # beside "pretrained", which the card describes
FEATURES = {
    # Faces, scenes and words as by default, the graphs and the backbones: 167 GB when unpacked.
    "EmoTx_min_feats.tar.gz": shared("EdbbcQvEaBlIg6Sktxw60lQBiOUyDWdbKf3GhF88mrEhaA"),
    # The other kinds of features: 32, 254, 72 and 143 GB.
    "InceptionResNetV1_VGGface_face_feats.tar.gz": shared("EaTYYi2G2DNCpUaO7-Hl9PgBaXgCedq3QMxbuVos3Sfa7A"),
    "VGG-vm_FER13_face_feats.tar.gz": shared("Ecx72Es1AdBGnT1Zr0U2R0cBjsx5WXP1nNAHjW2-3CdtbA"),
    "ResNet152_ImgNet_scene_feats.tar.gz": shared("EaPRbRO5hmVFtOXgkb-mLCkBX11y2T4dzwdXXSLbX0eAtw"),
    "ResNet50_PL365_scene_feats.tar.gz": shared("EaSkvXnjw6tBsXsRYf41yTgBbafy63-Nen_MRXulx0ycQA"),
}
_TEXT_FILES = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
# A server that no longer has a file often answers with a page about it.
_PAGE = (b"<!", b"<h", b"<H", b"<?")
_WAY_OUT = {
    "backbones": "put the files you can get elsewhere into that folder, or give --url of a folder that holds them",
    "features": "extract them with emotion-perception features, or give --url of a folder that holds the files",
}


def fetch(mode: str, path: str | Path, url: str | None = None) -> Path:
    """Fetches or makes what a mode stands for; a file that is already there is not fetched again.

    Nothing says what is in the published files, so what arrived is only looked at when it is opened, where nothing of it is run.

    Args:
        mode: ``backbones``: the six backbones, RoBERTa and its fine-tuned versions. ``features``: the archive of MovieGraphs' features
            by default, 167 GB. ``synthetic``: a small MovieGraphs, made here; ``synthetic-small``: one
            that is trained on in about a minute.
        path: Folder; a folder of the mode's name is made in it.
        url: Another folder that holds the files: http, https, file, or a local path; an address that ends in the name of one of the
            mode's files fetches that file only.

    Returns:
        The folder.

    Raises:
        UsageError: An unknown mode.
        DownloadError: A file could not be had; the others were fetched nevertheless, and the message names the first one.
        StorageError: The folder cannot be written.
    """
    if mode not in MODES:
        raise unknown_name("download mode", mode, ("pretrained", *MODES))
    folder = Path(path) / mode
    if mode.startswith("synthetic"):
        from emotion_perception.learners.emotx.moviegraphs import SMALL, write_synthetic

        write_synthetic(folder, **(SMALL if mode == "synthetic-small" else {}))
        return folder
    errors: list[DownloadError] = []
    for name, addresses in _wanted(mode, url).items():
        try:
            _fetch_one(folder, name, addresses)
        except DownloadError as error:
            if errors:
                logger.warning("%s", error)
            errors.append(error)
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        dead = "" if url else "the address may be dead, as those of EmoTx' authors have been since 2024: "
        raise DownloadError(f"{errors[0]}{more}; {dead}{_WAY_OUT[mode]}")
    if mode == "features":
        logger.warning("the features are packed; unpack them with: tar -xzf %s", folder / next(iter(FEATURES)))
    return folder


def _wanted(mode: str, url: str | None) -> dict[str, tuple[str, ...]]:
    """Returns the files of a mode with their addresses."""
    files: dict[str, tuple[str, ...]]
    if mode == "features":
        files = {name: (address,) for name, address in list(FEATURES.items())[:1]}
    else:
        files = {backbone.files[0]: backbone.addresses for backbone in (*SCENES.values(), *FACES.values())}
        files |= {f"{TEXT_FOLDER}/{name}": (f"{TEXT_ADDRESS}/resolve/main/{name}",) for name in _TEXT_FILES}
        for labels in (10, 25, 26):
            names, address = text_files(labels)
            files[names[0]] = (address,)
    if url is None:
        return files
    every = files | {name: (address,) for name, address in FEATURES.items()} if mode == "features" else files
    single = [name for name in every if url.rstrip("/").endswith(f"/{name}")]
    return {single[0]: (url,)} if single else {name: (f"{url.rstrip('/')}/{name}",) for name in files}


def _fetch_one(folder: Path, name: str, addresses: tuple[str, ...]) -> None:
    """Fetches a file from the first address that has it, or raises the last one's error."""
    for number, address in enumerate(addresses, 1):
        try:
            fetch_file(WeightFile(name, address, None), folder, address, check=_check)
            return
        except DownloadError as error:
            if number == len(addresses):
                raise
            logger.warning("%s; trying the next address", error)


def _check(file: Path) -> None:
    with file.open("rb") as stream:
        first = stream.read(64).lstrip()
    if not first or first.startswith(_PAGE):
        raise WeightsError("a web page, so it is no longer there")
