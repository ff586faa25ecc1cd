"""What leaves the package as text: names of files as UTF-8 can hold them, values as JSON knows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any


def shown(name: object) -> str:
    r"""Returns a text or path as UTF-8 can hold it: bytes of a file's name that are none are written as ``\xff``."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def plain(value: Any, digits: int | None = None) -> Any:
    """Turns arrays, paths, mappings and numbers into what JSON knows; NaN and infinity become None.

    Args:
        value: Anything; what is of no known kind stays as it is.
        digits: Decimals to which floats are rounded; None leaves them as they are.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {shown(key): plain(each, digits) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each, digits) for each in value]
    if isinstance(value, float):
        return None if not math.isfinite(value) else value if digits is None else round(value, digits)
    return shown(value) if isinstance(value, (str, PurePath)) else value
