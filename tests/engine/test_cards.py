from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emotion_perception.engine.cards import CARD_NAME, FORMAT_VERSION, CropSpec, InputSpec, ModelCard, WeightFile
from emotion_perception.engine.errors import UsageError, WeightsError

CARD = ModelCard(
    learner="toy",
    title="A toy",
    perceives="face",
    input=InputSpec(48, 64, "bgr", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.3)),
    labels="affectnet8",
    licence="Apache-2.0",
    paper="none",
    affect=True,
    crop=CropSpec("haar", 1.3, 0.05, "constant"),
    architecture={"width": 8, "deep": True},
    files=(WeightFile("toy.pt", "https://example.org/toy.pt", "sha256:" + "0a" * 32),),
    seed=3,
    scores={"made up": {"accuracy": 0.5}},
    notes=("one", "two"),
)


def test_a_card_survives_json() -> None:
    plain = json.loads(json.dumps(CARD.to_dict()))
    assert plain["format_version"] == FORMAT_VERSION
    assert ModelCard.from_dict(plain) == CARD


def test_what_a_card_leaves_out_has_defaults() -> None:
    optional = ("files", "notes", "scores", "seed", "architecture", "affect")
    plain = {name: value for name, value in CARD.to_dict().items() if name not in optional}
    card = ModelCard.from_dict(plain)
    assert (card.files, card.notes, dict(card.scores), card.seed, dict(card.architecture), card.affect) == ((), (), {}, None, {}, False)


def test_a_changed_copy_leaves_the_card_alone() -> None:
    other = CARD.with_(title="Another", affect=False)
    assert (other.title, other.affect, other.input) == ("Another", False, CARD.input)
    assert (CARD.title, CARD.affect) == ("A toy", True)


def test_a_card_knows_its_label_set() -> None:
    assert CARD.label_set.words[1] == "Happy"
    with pytest.raises(UsageError, match="unknown label set 'affectnet9'; did you mean 'affectnet8'"):
        _ = CARD.with_(labels="affectnet9").label_set


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"perceives": "voice"}, "card of 'toy': perceives is 'voice', expected one of face, scene, clip"),
        ({"crop": None}, "card of 'toy': a face model needs a crop"),
        ({"licence": ""}, "card of 'toy': licence is empty; say what the weights may be used for"),
        ({"input": InputSpec(48, 48, "grb")}, "card of 'toy': input InputSpec(height=48, width=48, color='grb'"),
        ({"input": InputSpec(0, 48)}, "card of 'toy': input InputSpec(height=0"),
        ({"input": InputSpec(48, 48, std=(1.0, 0.0, 1.0))}, "has a wrong colour order, size or std"),
        ({"input": InputSpec(48, 48, interpolation="cubic")}, "interpolation is 'cubic', expected one of area, bicubic"),
    ],
    ids=["perceives", "crop", "licence", "color", "size", "std", "interpolation"],
)
def test_a_card_that_could_not_be_true_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(WeightsError) as caught:
        CARD.with_(**changes)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scene_needs_no_crop() -> None:
    assert CARD.with_(perceives="scene", crop=None).crop is None


@pytest.mark.parametrize("digest", ["sha256:" + "0f" * 32, "git-blob:" + "9e" * 20, None])
def test_digests_of_both_kinds_and_none_are_taken(digest: str | None) -> None:
    assert WeightFile("a", "https://example.org/a", digest).digest == digest


@pytest.mark.parametrize(
    "digest",
    ["", "0f" * 32, "sha256:" + "0f" * 20, "sha256:" + "0F" * 32, "git-blob:" + "9e" * 32, "md5:" + "0f" * 16, f"sha256:{'0f' * 32}\n"],
)
def test_a_digest_that_could_never_match_is_refused(digest: str) -> None:
    with pytest.raises(WeightsError) as caught:
        WeightFile("a.pt", "https://example.org/a", digest)
    assert str(caught.value) == f"card: digest of 'a.pt' is {digest!r}, expected sha256:<64 hex> or git-blob:<40 hex>"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format_version": 2}, "card has format version 2, this program reads 1; update emotion_perception or save again"),
        ({"format_version": None}, "card has format version None, this program reads 1"),
        ({"colour": "red", "taste": 1}, "card has unknown fields colour, taste; it was written by a newer or another program"),
        ({"input": {"height": 48}}, "card is incomplete or malformed: "),
        ({"input": {"height": 48, "width": 48, "depth": 3}}, "card is incomplete or malformed: "),
        ({"input": None}, "card is incomplete or malformed: "),
        ({"input": {"height": "48", "width": "48"}}, "card is incomplete or malformed: "),
        ({"input": {"height": 48, "width": 48, "std": [1, "x", 1]}}, "card is incomplete or malformed: "),
        ({"crop": {"zoom": 1.0}}, "card is incomplete or malformed: "),
        ({"crop": 5}, "card is incomplete or malformed: "),
        ({"files": [{"name": "a"}]}, "card is incomplete or malformed: "),
        ({"files": 3}, "card is incomplete or malformed: "),
        ({"notes": 3}, "card is incomplete or malformed: "),
        ({"licence": ""}, "licence is empty"),
        ({"files": [{"name": "a", "url": "https://example.org/a", "digest": 5}]}, "card"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_a_malformed_card_is_refused_in_one_line(changes: dict[str, Any], text: str) -> None:
    plain = json.loads(json.dumps(CARD.to_dict()))
    with pytest.raises(WeightsError) as caught:
        ModelCard.from_dict({**plain, **changes})
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["learner", "title", "input", "labels", "licence", "paper", "perceives"])
def test_a_card_without_a_needed_field_is_refused_by_the_fields_name(missing: str) -> None:
    plain = {name: value for name, value in CARD.to_dict().items() if name != missing}
    with pytest.raises(WeightsError, match=f"card is incomplete or malformed: .*'{missing}'.*; save the weights again"):
        ModelCard.from_dict(plain)


def test_a_card_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / CARD_NAME).write_text(json.dumps(CARD.to_dict()), encoding="utf-8")
    assert ModelCard.read(tmp_path) == CARD


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "has no card.json; give a folder written by save() or download()"),
        (b"", "cannot read "),
        (b'{"learner": "to', "cannot read "),
        (b"\xff\xfe\x00", "cannot read "),
        (b"[1, 2]", "is not a model card; give a folder written by save() or download()"),
        (b"{}", "card has format version None"),
    ],
    ids=["missing", "empty", "truncated", "binary", "list", "object"],
)
def test_a_folder_without_a_readable_card_is_refused(content: bytes | None, text: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / CARD_NAME).write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        ModelCard.read(tmp_path)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_place_of_the_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / CARD_NAME).mkdir()
    with pytest.raises(WeightsError, match=r"cannot read .*card\.json"):
        ModelCard.read(tmp_path)
