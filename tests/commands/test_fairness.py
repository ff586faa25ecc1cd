from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("fairlearn", reason="fairlearn is not installed; it comes with the extra 'fairness'")


@pytest.fixture
def words(class_folders: Path, tiny_weights: Path, tmp_path: Path) -> list[object]:
    """A call that compares pictures of even and odd numbers."""
    rows = [
        f"{word}/{i}.png,{'odd' if i % 2 else 'even'},{'low' if i < 4 else 'high'}"
        for word in ("Happy", "Sad", "Neutral")
        for i in range(8)
    ]
    (tmp_path / "groups.csv").write_text("\n".join(["file,parity,half", *rows]), encoding="utf-8")
    data = ("--dataset", "folder", "--data", class_folders, "--weights", tiny_weights)
    return ["fairness", "esr", *data, "--groups", tmp_path / "groups.csv", "--min-count", 4, "--replicates", 20]


def test_a_table_per_group_and_what_passes(command, words: list[object]) -> None:
    status, out, err = command(*words, "--max-gap", "accuracy=1", "--max-gap", "parity:macro_f1=1")
    assert status == 0, err
    assert "leaks: not looked for" in out
    assert "24 pictures, 0 without a row" in out
    headers = [line.split()[0] for line in out.splitlines() if "calibration error" in line]
    assert headers == ["parity", "half", "parity"]  # the last one: parity x half
    assert out.count("PASS  ") == 4
    assert "FAIL" not in out
    assert "no limits were given" in command(*words, "--by", "half", "--no-crossed").out


def test_a_limit_that_is_not_kept_is_status_1_also_with_json_and_report(command, words: list[object], tmp_path: Path) -> None:
    status, out, err = command(*words, "--by", "parity", "--min-worst", "accuracy=1", "--json", "--report", tmp_path / "report")
    assert status == 1
    result = json.loads(out)
    assert (result["passed"], result["checks"][0]["attribute"], result["pictures"]) == (False, "parity", 24)
    assert result["groups"]["digest"].startswith("sha256:")
    assert set(result["weights"]) == {"card.json", "model.safetensors"}
    assert "1 of 1 limits are not kept" in err.splitlines()[-1]
    assert json.loads((tmp_path / "report" / "fairness.json").read_text())["attributes"].keys() == {"parity"}
    assert (tmp_path / "report" / "fairness.html").is_file()


def test_pictures_that_were_trained_on_are_looked_for_first(command, words: list[object], class_folders: Path) -> None:
    status, out, err = command(*words, "--train-data", class_folders, "--max-leak", "0.5", "--by", "half")
    assert status == 1
    assert "leaks: 24 of 24 validation pictures" in out
    assert "FAIL  data: share of pictures trained on at most 0.5: 1.000 (24 of 24 pictures)" in out
    status, _, err = command(*words, "--train-data", class_folders, "--drop-leaks")
    assert status == 1
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--by", "partiy"), 2, "unknown attribute"),
        (("--key", "name"), 2, "unknown column"),
        (("--max-gap", "acuracy=1"), 2, "did you mean 'accuracy'"),
        (("--max-gap", "size:accuracy=1"), 2, "unknown attribute of --max-gap 'size'"),
        (("--drop-leaks",), 2, "give --train-split, --train-data or both"),
        (("--groups", "nowhere.csv"), 1, "cannot read the groups in 'nowhere.csv'"),
    ],
)
def test_bad_words_are_one_line(command, words: list[object], options: tuple[str, ...], status: int, message: str) -> None:
    done = command(*words, *options)
    assert (done.status, done.out) == (status, "")
    assert message in done.err
    assert done.err.count("\n") == 1
