"""The synthetic MovieGraphs has the structure that its description promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from emotion_perception.engine.errors import StorageError, UsageError
from emotion_perception.engine.labels import MOVIEGRAPHS10, MOVIEGRAPHS25
from emotion_perception.learners.emotx import EmoTxLearner
from emotion_perception.learners.emotx.clips import ClipFeatures
from emotion_perception.learners.emotx.moviegraphs import MovieGraphs, write_synthetic
from emotion_perception.learners.emotx.moviegraphs.pickles import read_pickles
from emotion_perception.learners.emotx.moviegraphs.synthetic import LEARNABLE_FROM

SIZE = {"movies": 3, "scenes": 6, "face_feat_type": "generic", "seed": 1}


def test_every_word_of_the_label_sets_has_a_stream_or_is_noise() -> None:
    assert set(LEARNABLE_FROM) == set(MOVIEGRAPHS25.words)
    kinds = {LEARNABLE_FROM[word] for word in MOVIEGRAPHS10.words}
    assert kinds == {"scene", "face", "dialogue", "timing", "noise"}


def test_the_same_arguments_write_the_same_and_others_are_refused(written: Path, tmp_path: Path) -> None:
    again = write_synthetic(tmp_path / "again", **SIZE)
    files = sorted(file.relative_to(written) for file in written.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(again) for file in again.rglob("*") if file.is_file())
    # A pickled tensor holds where it was in memory.
    same = [file for file in files if file.parts[0] != "srt_feats"]
    assert all((written / file).read_bytes() == (again / file).read_bytes() for file in same)
    for file in set(files) - set(same):
        for one, other in zip(read_pickles(written / file, 2), read_pickles(again / file, 2), strict=True):
            np.testing.assert_array_equal(one, other)
    note = (again / "synthetic.json").stat().st_mtime_ns
    assert write_synthetic(again, **SIZE) == again
    assert (again / "synthetic.json").stat().st_mtime_ns == note
    with pytest.raises(StorageError, match="something else is there; choose another folder"):
        write_synthetic(again, **{**SIZE, "seed": 2})
    with pytest.raises(UsageError, match="expected at least 3 of at least 1"):
        write_synthetic(tmp_path / "few", movies=2)
    with pytest.raises(UsageError, match="unknown face_feat_type"):
        write_synthetic(tmp_path / "other", face_feat_type="resnet")


def test_it_has_three_parts_in_the_published_layout(written: Path) -> None:
    parts = json.loads((written / "MovieGraph" / "resources" / "split.json").read_text())
    assert {part: len(movies) for part, movies in parts.items()} == {"train": 1, "val": 1, "test": 1}
    found = {str(file.parent.relative_to(written)).replace(parts["val"][0], "*") for file in written.rglob("*") if file.is_file()}
    texts = {f"srt_feats/independent/{kind}/*" for kind in ("pretrained", "finetuned_t10", "finetuned_t25", "finetuned_t26")}
    graphs = {"MovieGraph/mg/py3loader", "MovieGraph/resources", "MovieGraph/srt/clip_srt/*"}
    others = {"mvit_v1_scene_features/*", "generic_face_features/*", "character_tracks/*", "track_names/*", "track_names/metadata"}
    assert texts | graphs | others <= found


def test_the_learner_downloads_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion_perception.learners.emotx.moviegraphs.SMALL", {"movies": 3, "scenes": 1})
    made = EmoTxLearner().download(tmp_path, mode="synthetic-small")
    assert (made, json.loads((made / "synthetic.json").read_text())["seed"]) == (tmp_path / "synthetic-small", 0)


def summary(clip: ClipFeatures, person: str) -> np.ndarray:
    """Returns all that a judge of one person may see, as one row."""
    face = clip.characters[person].features
    seen = face.mean(axis=0) if len(face) else np.zeros(512, np.float32)
    first, last = clip.scene.features[:2].mean(axis=0), clip.scene.features[-2:].mean(axis=0)
    return np.concatenate([clip.scene.features.mean(axis=0), first, last, seen, clip.dialogue.features.sum(axis=0)])


def test_what_can_be_learned_is_in_its_stream_and_noise_is_nowhere(tmp_path: Path) -> None:
    # A linear judge of plain summaries of all streams, so that this does not hang on any network.
    root = write_synthetic(tmp_path / "data", movies=5, scenes=60, face_feat_type="generic", seed=3)
    rows = {}
    for split in ("train", "test"):
        dataset = MovieGraphs(root, split, face_feat_type="generic", labels=MOVIEGRAPHS10)
        clips = [(dataset.clip(index), dataset.targets(index)) for index in range(len(dataset))]
        features = np.array([summary(clip, person) for clip, _ in clips for person in clip.characters])
        rows[split] = features, np.concatenate([targets.characters for _, targets in clips])
    said = Ridge(alpha=1000.0).fit(*rows["train"]).predict(rows["test"][0])
    true = rows["test"][1]
    precision = {word: (average_precision_score(true[:, k], said[:, k]), true[:, k].mean()) for k, word in enumerate(MOVIEGRAPHS10.words)}
    for word, (found, chance) in precision.items():
        if LEARNABLE_FROM[word] == "noise":
            assert abs(found - chance) < 0.2, (word, found, chance)
        else:
            assert found > 0.9, (word, found, chance)
