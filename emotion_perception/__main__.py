"""``python -m emotion_perception``: the same as the command ``emotion-perception``."""

from __future__ import annotations

import sys

from emotion_perception.commands import main

if __name__ == "__main__":
    sys.exit(main())
