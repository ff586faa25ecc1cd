"""What an exported file says about itself in its metadata, beside the model card: its precision, and the version of the format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotion_perception.engine.errors import WeightsError

PRECISIONS = ("fp32", "fp16", "int8")
CARD_KEY = "emotion_perception.card"
PRECISION_KEY = "emotion_perception.precision"  # fp32 where it is missing
FORMAT_KEY = "emotion_perception.format"
FORMAT_VERSION = 1


def set_metadata(proto: Any, key: str, value: str) -> None:
    """Writes an entry into the metadata of an ONNX model, in the place of an older one of that name."""
    for entry in proto.metadata_props:
        if entry.key == key:
            entry.value = value
            return
    proto.metadata_props.add(key=key, value=value)


def check_format(metadata: Mapping[str, str], path: Path) -> None:
    """Raises `WeightsError` for a file of a newer version than this program reads; a file that says none has version 1."""
    found = metadata.get(FORMAT_KEY, "1")
    if not found.isdecimal() or int(found) > FORMAT_VERSION:
        reads = f"this program reads up to {FORMAT_VERSION}"
        raise WeightsError(f"{str(path)!r} has format version {found}, {reads}; update emotion_perception, or optimize() the weights again")
