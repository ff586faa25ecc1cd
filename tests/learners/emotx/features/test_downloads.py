from __future__ import annotations

import logging
from pathlib import Path

import pytest

from emotion_perception.engine.downloads import OFFLINE_VARIABLE
from emotion_perception.engine.errors import DownloadError, UsageError
from emotion_perception.learners.emotx import downloads
from emotion_perception.learners.emotx.card import CARD
from emotion_perception.learners.emotx.features.backbones.catalogue import FACES, SCENES


def every_file(mode: str) -> list[str]:
    return list(downloads._wanted(mode, None))


def test_every_backbone_is_found_where_it_is_put(tmp_path: Path) -> None:
    source = tmp_path / "usb"
    for name in every_file("backbones"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"PK" + name.encode())
    folder = downloads.fetch("backbones", tmp_path / "got", str(source))
    assert folder == tmp_path / "got" / "backbones"
    assert all((folder / name).read_bytes() == b"PK" + name.encode() for name in every_file("backbones"))
    assert {backbone.files[0] for backbone in (*SCENES.values(), *FACES.values())} <= set(every_file("backbones"))
    assert (folder / "roberta-base" / "config.json").is_file()
    # What is there is not fetched again.
    (source / "roberta-base" / "config.json").unlink()
    assert downloads.fetch("backbones", tmp_path / "got", str(source)) == folder


def test_one_file_can_be_fetched_alone(tmp_path: Path) -> None:
    name = "VGG-vm_FER13_face_feats.tar.gz"
    (tmp_path / name).write_bytes(b"\x1f\x8b content")
    folder = downloads.fetch("features", tmp_path / "got", (tmp_path / name).as_uri())
    assert [file.name for file in folder.iterdir()] == [name]


def test_a_dead_address_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    with pytest.raises(
        DownloadError, match=r"EmoTx_min_feats.tar.gz.*may be dead.*extract them with emotion-perception features"
    ) as caught:
        downloads.fetch("features", tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.rglob("*.gz")) == []


def test_a_page_in_the_place_of_a_file_is_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "usb"
    source.mkdir()
    for name in every_file("backbones"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"PK")
    gone = SCENES["mvit_v1"].files[0], FACES["emo"].files[0]
    for name in gone:
        (source / name).write_text("\n<!DOCTYPE html><title>gone</title>")
    with caplog.at_level(logging.WARNING), pytest.raises(DownloadError, match=rf"{gone[0]}.*a web page.*\(and 1 more\)"):
        downloads.fetch("backbones", tmp_path / "got", str(source))
    # All others are there.
    assert {name for name in every_file("backbones") if not (tmp_path / "got" / "backbones" / name).exists()} == set(gone)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'backbones'"):
        downloads.fetch("backbone", "x")


def test_all_addresses_are_secure_or_their_owners_only_one() -> None:
    addresses = [address for mode in ("backbones", "features") for many in downloads._wanted(mode, None).values() for address in many]
    addresses += [file.url for file in CARD.files]
    assert len(set(addresses)) == len(addresses)
    plain = {address.split("/")[2] for address in addresses if not address.startswith("https://")}
    assert plain == {"www.robots.ox.ac.uk", "places2.csail.mit.edu"}
