from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from emotion_perception.commands.doctor import Check
from emotion_perception.engine import registry

PLUGIN = """
from emotion_perception.engine.cards import InputSpec, ModelCard
from emotion_perception.engine.learners import Learner


class SceneLearner(Learner):
    card = ModelCard("scenic", "Scenes", "scene", InputSpec(8, 8), "ferplus8", licence="MIT", paper="none")
    output_names = ("logits",)

    def build_model(self, card): ...
    def emotions(self, outputs): ...
    def fit(self, dataset=None, val_dataset=None, logging_path="", silent=True, verbose=True): ...
    def eval(self, dataset=None): ...
    def download(self, path=None, mode="pretrained", url=None): ...
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two third-party packages on the path: one brings a learner, the other is broken."""
    site = tmp_path / "site"
    for name, value in (("scenic", "scenic_package:SceneLearner"), ("broken", "broken_package:Nothing")):
        folder = site / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[emotion_perception.learners]\n{name} = {value}\n")
    (site / "scenic_package.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(site)


def test_list_shows_what_each_learner_is_for(command) -> None:
    status, out, err = command("list")
    assert (status, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.split("  ")[0] == "name"
    (esr,) = [row for row in rows if row.startswith("esr ")]
    assert "face" in esr
    assert "affectnet8" in esr


def test_list_shows_the_licence_of_the_weights_that_come_along(command, root: Path) -> None:
    listed = {row["name"]: row for row in json.loads(command("list", "--json").out)}
    card = json.loads((root / "learners" / "esr" / "weights" / "card.json").read_text(encoding="utf-8"))
    assert (listed["esr"]["licence"], listed["esr"]["title"]) == (card["licence"], card["title"])


@pytest.mark.parametrize("name", ["list", "doctor"])
def test_all_learners_are_found_in_one_look_through_the_installed_packages(command, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    looked: list[str] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: looked.append(group) or importlib.metadata.entry_points(group=group))
    assert command(name).status == 0
    assert looked == [registry.GROUP]


def test_list_and_info_show_a_third_partys_learner_and_say_that_another_is_broken(command, plugins: None) -> None:
    status, out, err = command("list", "--json")
    found = {row["name"]: row for row in json.loads(out)}
    assert status == 1
    assert "learner 'broken'" in err
    assert found["scenic"]["perceives"] == "scene"
    assert found["scenic"]["default_weights"] is False
    assert found["scenic"]["affect"] is False
    assert "esr" in found
    status, out, err = command("predict", Path(__file__).parent / "nothing.png", "--learner", "scenic")
    assert status == 1
    status, _, err = command("predict", Path(__file__).parents[2] / "engine/assets/astronaut.png", "--learner", "scenic")
    assert status == 2
    assert "give --weights DIR" in err


def test_info_shows_the_card_of_given_weights(command, tiny_weights: Path) -> None:
    status, out, _ = command("info", "esr", "--weights", tiny_weights)
    assert status == 0
    for fact in ("96x96 pixels, RGB", "ensemble_size 2", "Neutral, Happy", "model.safetensors", "licence", "branch_share=0.333333"):
        assert fact in out
    facts = json.loads(command("info", "esr", "--weights", tiny_weights, "--json").out)
    assert facts["architecture"] == {"ensemble_size": 2, "diversify": False}
    # The published counts of the networks with 9 and with 15 branches say what a branch has.
    one_branch = (33_666_054 - 20_349_546) // 6
    assert facts["parameters"] == 20_349_546 - 7 * one_branch
    assert facts["settings"]["momentum"] == 0.9


@pytest.mark.parametrize("content", [None, b"", b'{"format_version": 1}'])
def test_info_of_a_folder_that_holds_no_weights_is_one_line(command, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "card.json").write_bytes(content)
    status, out, err = command("info", "esr", "--weights", tmp_path)
    assert (status, out) == (1, "")
    assert err.startswith("emotion-perception: error: ")
    assert err.count("\n") == 1


def test_info_lists_what_can_be_set_of_a_learner_with_settings_of_its_own(command) -> None:
    status, out, _ = command("info", "emotx", "--json")
    settings = json.loads(out)["settings"]
    assert status == 0
    assert {"lr", "top_k", "attention_dropout", "wandb"} <= set(settings)
    assert "temp_path" not in settings


def test_doctor_finds_this_installation_well(command) -> None:
    status, out, _ = command("doctor", "--json")
    report = json.loads(out)
    checks = {check["name"]: check for check in report["checks"]}
    assert (status, report["ok"]) == (0, True)
    assert checks["torch"]["state"] == checks["cv2"]["state"] == checks["learners"]["state"] == "ok"
    assert checks["yunet"]["state"] == "warning"
    assert "emotion-perception download yunet" in checks["yunet"]["advice"]
    assert all(set(check) == set(Check.__dataclass_fields__) for check in report["checks"])


def test_doctor_says_what_is_too_old(command, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        "numpy>=1.26",
        "typer>=99.1",
        'opencv-python-headless>=99; extra == "vision"',
        'torch<100,>=99; extra == "torch"',
        'av (>=99.1) ; extra == "video"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    status, out, _ = command("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert status == 1
    assert {name: checks[name]["state"] for name in ("numpy", "typer", "torch")} == {"numpy": "ok", "typer": "missing", "torch": "missing"}
    assert checks["typer"]["found"].endswith(", which is too old")
    assert checks["typer"]["advice"] == "run: pip install 'typer>=99.1'"
    assert checks["torch"]["advice"] == "run: pip install 'torch<100,>=99'"
    assert checks["cv2"]["state"] == "warning"
    assert "YuNet no" in checks["cv2"]["found"]
    if checks["av"]["found"] != "not installed":
        assert checks["av"]["advice"] == "no video files; run: pip install 'av>=99.1'"


def test_doctor_does_without_a_cache_that_it_may_not_look_into(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name that is too long is refused as another user's folder is, to root too.
    monkeypatch.setenv("EMOTION_PERCEPTION_CACHE", str(tmp_path / ("x" * 300)))
    status, out, _ = command("doctor", "--json")
    assert status == 0
    assert {check["name"]: check for check in json.loads(out)["checks"]}["yunet"]["state"] == "warning"


def test_doctor_works_with_nothing_but_typer_and_says_what_is_missing(process, tmp_path: Path) -> None:
    names = ["numpy", "PIL", "torch", "cv2", "scipy", "rich", "av", "onnx", "onnxruntime", "safetensors", "pooch", "matplotlib", "sklearn"]
    names += ["torchmetrics", "tensorboard", "cyclonedds", "rosbags", "fairlearn", "captum", "h5py", "pyarrow", "omegaconf", "transformers"]
    site = tmp_path / "without"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {names}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    status, out, err = process("doctor", PYTHONPATH=str(site))
    assert status == 1
    lines = {line.split()[1]: line for line in out.splitlines()}
    for name in names:
        assert "not installed" in lines[name]
        assert "run: pip install" in lines[name]
    assert lines["torch"].startswith("missing")
    assert lines["av"].startswith("warning")
    assert err == f"emotion-perception: error: needed and missing: {err.partition('missing: ')[2]}"
    assert "torch" in err
    # Other commands say in one line what they lack.
    status, out, err = process("predict", "a.png", PYTHONPATH=str(site))
    assert (status, out) == (1, "")
    assert err == "emotion-perception: error: this needs numpy, which is not installed; emotion-perception doctor says how to get it\n"
