from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.engine.datasets import Targets
from emotion_perception.engine.evaluation.fairness.groups import Groups
from emotion_perception.engine.evaluation.fairness.limits import Limit
from emotion_perception.engine.labels import AFFECTNET8
from emotion_perception.engine.target import Emotions

pytest.importorskip("fairlearn", reason="fairlearn is not installed; it comes with the extra 'fairness'")
from emotion_perception.engine.evaluation.fairness.auditing import audit
from emotion_perception.engine.evaluation.fairness.report import group_rows, write_report

CARD = ModelCard(
    learner="toy",
    title="A <toy> & its card",
    perceives="face",
    input=InputSpec(8, 8),
    labels="affectnet8",
    licence="none",
    paper="a paper",
    crop=CropSpec(),
    data="pictures of toys",
    scores={"toys": {"accuracy": 0.5}},
    notes=("It errs.",),
)
FACTS = {
    "program": "emotion_perception 1",
    "learner": "toy",
    "weights": {"model.safetensors": "sha256:12"},
    "dataset": "folder",
    "split": None,
    "groups": {"file": "groups.csv", "digest": "sha256:34"},
}
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Reads a page and refuses tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 8, 300)
    probabilities = random.dirichlet(np.ones(8), 300).astype(np.float32)
    probabilities[np.arange(300), truth] += 0.5
    emotions = Emotions(AFFECTNET8, (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32))
    emotions.probabilities[7] = np.nan
    side = np.where(np.arange(300) < 4, "<i>few</i>", random.choice(["A", "B"], 300))
    groups = Groups({"s/i de": side, "age": np.where(np.arange(300) < 9, "", "old")}, {"s/i de": ("nobody",), "age": ()}, 3)
    limits = [Limit("max-gap", "accuracy", 1.0), Limit("min-worst", "accuracy", 1.0, "age")]
    return FACTS | {"leaks": None} | audit(emotions, Targets(truth), groups, min_count=12, replicates=30, limits=limits)


@pytest.fixture(scope="module")
def files(result: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_report(result, CARD, tmp_path_factory.mktemp("reports") / "report")


def test_a_report_is_a_page_numbers_and_two_plots_per_attribute(files: list[Path]) -> None:
    names = [file.name for file in files]
    assert names[:2] == ["fairness.html", "fairness.json"]
    assert names[2:4] == ["01_s_i_de_groups.png", "01_s_i_de_classes.png"]
    assert names[4:] == [f"{n}_{kind}.png" for n in ("02_age", "03_s_i_de_x_age") for kind in ("groups", "classes")]
    assert sorted(names) == sorted(file.name for file in files[0].parent.iterdir())
    for file in files[2:]:
        with Image.open(file) as picture:
            assert np.asarray(picture.convert("L")).std() > 10
    numbers = json.loads(files[1].read_text(encoding="utf-8"))
    assert numbers["card"]["learner"] == "toy"
    assert numbers["attributes"]["s/i de"]["too_small"] == {"<i>few</i>": 4, "nobody": 0}


def test_the_page_needs_nothing_beside_itself(files: list[Path]) -> None:
    text = files[0].read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not {"script", "iframe", "object", "i"} & {tag for tag, _ in page.tags}
    loads = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert len(loads) == 7  # six plots and an empty icon
    assert all(value and value.startswith("data:") for value in loads)
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_states_what_was_measured_and_what_that_is_worth(files: list[Path], result: dict[str, Any]) -> None:
    words = Page(files[0].read_text(encoding="utf-8")).words
    for stated in (
        "A <toy> & its card",
        "sha256:12",
        "groups.csv sha256:34",
        "3 pictures have no row in it",
        "pictures of toys",
        "toys: accuracy 0.5",
        "not made: nothing was said about what the model was trained on",
        "The answers to 1 pictures were NaN",
        "FAIL",
        "<i>few</i> (too few)",
        "nobody (no picture)",
        "may themselves be predictions",
        "one class against the rest",
        "30 samples",
        f"{result['attributes']['s/i de']['groups']['A']['accuracy']:.3f}",
    ):
        assert stated in words, stated


def test_leaks_are_stated(result: dict[str, Any], tmp_path: Path) -> None:
    leaks = {"train": 50, "validation": 20, "leaked": 3, "share": 0.15, "same_source": 2, "near_copies": 1, "radius": 4, "dropped": True}
    changes = {"leaks": leaks, "checks": [], "passed": None, "failures": [], "attributes": {"age": result["attributes"]["age"]}}
    files = write_report(result | changes, CARD, tmp_path)
    words = Page(files[0].read_text(encoding="utf-8")).words
    assert "3 of 20 pictures (15.0%) are among the 50 trained on: 2 share a source, 1 have a near-copy" in words
    assert "they were left out" in words
    assert "No limits were given, so nothing passes or fails." in words


def test_rows_for_people(result: dict[str, Any]) -> None:
    rows = list(group_rows(result, "s/i de"))
    assert [row[0] for row in rows] == ["<i>few</i> (too few)", "A", "B", "nobody (no picture)", "everyone"]
    assert rows[-1][1] == 299
