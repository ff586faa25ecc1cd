"""Subtitles: the words of a clip with their times, out of .srt files of any common encoding."""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emotion_perception.engine.errors import InputError

logger = logging.getLogger(__name__)

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[,.:](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
# Tags, what is not said (in brackets), and signs of music, also as they look when UTF-8 was read as cp1252.
_NOT_SAID = re.compile(r"<[^<>\n]+>|\{\\[^{}\n]*\}|\([^()]*\)|\[[^\[\]]*\]|\u00e2\u2122\u00aa|[\u266a\u266b#]")
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Utterance:
    """Something that was said.

    Attributes:
        start_s, end_s: When, in seconds from the start of the clip.
        text: The words, in one line.
    """

    start_s: float
    end_s: float
    text: str

    @property
    def middle_s(self) -> float:
        """The time that stands for the utterance: its middle, in seconds."""
        return (self.start_s + self.end_s) / 2


def read_srt(file: str | Path, skipped: list[str] | None = None) -> list[Utterance]:
    """Reads subtitles.

    UTF-8, UTF-16 (with or without byte order mark) and cp1252 are told apart by the bytes. Tags, signs of music and what stands in
    brackets is left out, and a subtitle with nothing else too. Where two people speak in one subtitle (both lines start with a dash),
    each gets an utterance, and a share of the time by the length of the words, as in EmoTx' features.

    Args:
        file: The .srt file.
        skipped: A line for each malformed block is added to this list; without it, one warning counts them.

    Returns:
        The utterances in the order of their times. None is fine: a scene without words.

    Raises:
        InputError: The file cannot be read, or is not text with the times of subtitles.
    """
    path = Path(file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read subtitles {str(path)!r}: {error.strerror}; give an .srt file") from None
    text = decoded(content)
    problems: list[str] = []
    utterances: list[Utterance] = []
    for line, block in _blocks(text):
        problem = _read_block(block, utterances)
        if problem:
            problems.append(f"{path}: line {line}: {problem}; the block was left out")
    if problems and not utterances and "-->" not in text:
        raise InputError(f"{str(path)!r} has no times of subtitles; give an .srt file (00:00:01,000 --> 00:00:02,500 before each text)")
    if skipped is not None:
        skipped += problems
    elif problems:
        logger.warning("%s (malformed blocks in all: %d)", problems[0], len(problems))
    return sorted(utterances, key=lambda utterance: utterance.middle_s)


def decoded(content: bytes) -> str:
    """Returns the text of a file whose encoding nobody said: UTF-16, UTF-8 or, what everything else is taken for, cp1252."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    # Digits, colons and line ends in UTF-16 have a zero byte each; no other encoding of text has any.
    even, odd = content[0:2000:2].count(0), content[1:2000:2].count(0)
    if max(even, odd) * 8 > len(content[:2000]):
        return content.decode("utf-16-be" if even > odd else "utf-16-le", errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields number of the first line and lines of each block: up to an empty line, or to the next time where that line is missing."""
    start, block = 1, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], 1):
        timed = any("-->" in before for before in block)
        if not line.strip():
            if block:
                yield start, block
            block = []
        elif "-->" in line and timed:
            # The line before it is the next block's number.
            own, rest = (block[:-1], block[-1:]) if block[-1].strip().isdigit() else (block, [])
            yield start, own
            start, block = number - len(rest), [*rest, line]
        else:
            start = start if block else number
            block.append(line)


def _read_block(block: list[str], utterances: list[Utterance]) -> str | None:
    """Adds the utterances of a block; returns what is wrong with it, if anything is."""
    at = next((i for i, line in enumerate(block) if "-->" in line), None)
    if at is None or at > 1:
        return f"no time where one was expected ({block[0].strip()[:40]!r})"
    found = _TIMES.fullmatch(block[at])
    if found is None:
        return f"{block[at].strip()[:60]!r} is not 'HH:MM:SS,mmm --> HH:MM:SS,mmm'"
    start_s, end_s = _seconds(*found.groups()[:4]), _seconds(*found.groups()[4:])
    if end_s < start_s:
        return f"it ends ({end_s:g} s) before it starts ({start_s:g} s)"
    lines = [" ".join(line.split()) for line in _NOT_SAID.sub("", "\n".join(block[at + 1 :])).split("\n")]
    utterances += _shared(start_s, end_s, [line for line in lines if line.strip(" -")])
    return None


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _shared(start_s: float, end_s: float, lines: list[str]) -> list[Utterance]:
    """Makes one utterance of the lines, or, where each starts with a dash, one per line."""
    if not lines:
        return []
    if not all(line.startswith("-") for line in lines):
        return [Utterance(start_s, end_s, " ".join(line.removeprefix("-").strip() for line in lines))]
    texts = [line.lstrip("- ") for line in lines]
    said, length = 0, sum(map(len, texts))
    utterances = []
    for text in texts:
        span = end_s - start_s
        utterances.append(Utterance(start_s + span * said / length, start_s + span * (said + len(text)) / length, text))
        said += len(text)
    return utterances
