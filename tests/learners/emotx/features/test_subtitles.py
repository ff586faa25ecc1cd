from __future__ import annotations

import logging
from pathlib import Path

import pytest

from emotion_perception.engine.errors import InputError
from emotion_perception.learners.emotx.features.subtitles import Utterance, read_srt

TEXT = """1
00:00:01,000 --> 00:00:02,500
Caf\u00e9 \u2013 where?

2
00:01:00.5 --> 00:01:02,000 X1:10 X2:20
<i>Over</i> there.
[door slams]
"""
EXPECTED = [Utterance(1.0, 2.5, "Caf\u00e9 \u2013 where?"), Utterance(60.5, 62.0, "Over there.")]


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_common_encoding_is_read(tmp_path: Path, encoding: str, ends: str) -> None:
    file = tmp_path / "a.srt"
    file.write_bytes(TEXT.replace("\n", ends).encode(encoding))
    skipped: list[str] = []
    assert read_srt(file, skipped) == EXPECTED
    assert skipped == []
    assert EXPECTED[0].middle_s == 1.75


def read(tmp_path: Path, text: str) -> tuple[list[Utterance], list[str]]:
    file = tmp_path / "a.srt"
    file.write_text(text, encoding="utf-8")
    skipped: list[str] = []
    return read_srt(file, skipped), skipped


def test_two_speakers_share_the_time_by_the_length_of_their_words(tmp_path: Path) -> None:
    said, _ = read(tmp_path, "1\n00:00:10,000 --> 00:00:14,000\n- No.\n- Certainly\n")
    assert said == [Utterance(10.0, 11.0, "No."), Utterance(11.0, 14.0, "Certainly")]
    said, _ = read(tmp_path, "1\n00:00:10,000 --> 00:00:14,000\n- I went\nhome.\n")
    assert said == [Utterance(10.0, 14.0, "I went home.")]


def test_what_nobody_says_is_left_out(tmp_path: Path) -> None:
    blocks = [
        "\u266a la la \u266a",
        "(sighs)",
        "[music\nplays]",
        "\u00e2\u2122\u00aa hum \u00e2\u2122\u00aa",
        "<font color='red'>Hi</font>",
        "-",
        "",
    ]
    text = "\n\n".join(f"{i}\n00:00:{i:02},000 --> 00:00:{i:02},900\n{block}" for i, block in enumerate(blocks))
    said, skipped = read(tmp_path, text)
    assert [utterance.text for utterance in said] == ["la la", "hum", "Hi"]
    assert skipped == []


def test_malformed_blocks_are_listed_and_the_others_read(tmp_path: Path) -> None:
    text = "\n\n".join(
        [
            "1\n00:00:01,000 --> 00:00:02,000\ngood",
            "2\n00:00:xx,000 --> 00:00:04,000\nbad time",
            "words without a time",
            "3\n00:00:09,000 --> 00:00:08,000\nbackwards",
            # An empty line is missing between these two.
            "4\n00:00:05,000 --> 00:00:06,000\nfirst\n5\n00:00:06,000 --> 00:00:07,000\nsecond",
            "6\n00:00:03,000 --> 00:00:04,000\nout of order",
        ]
    )
    said, skipped = read(tmp_path, text)
    assert [utterance.text for utterance in said] == ["good", "out of order", "first", "second"]
    assert len(skipped) == 3
    assert "line 5: '00:00:xx,000 --> 00:00:04,000' is not 'HH:MM:SS,mmm --> HH:MM:SS,mmm'" in skipped[0]
    assert "line 9: no time where one was expected ('words without a time')" in skipped[1]
    assert "line 11: it ends (8 s) before it starts (9 s)" in skipped[2]


def test_without_a_list_malformed_blocks_are_counted_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.srt"
    file.write_text("1\nx --> y\n\n2\nz --> w\n\n3\n00:00:01,000 --> 00:00:02,000\ngood\n")
    with caplog.at_level(logging.WARNING):
        assert len(read_srt(file)) == 1
    assert [record.message.endswith("(malformed blocks in all: 2)") for record in caplog.records] == [True]


def test_what_is_no_subtitles_is_refused(tmp_path: Path) -> None:
    assert read(tmp_path, "") == ([], [])
    with pytest.raises(InputError, match="has no times of subtitles"):
        read(tmp_path, "Dear diary,\n\ntoday")
    with pytest.raises(InputError, match="cannot read subtitles"):
        read_srt(tmp_path / "none.srt")
    with pytest.raises(InputError, match="cannot read subtitles"):
        read_srt(tmp_path)
