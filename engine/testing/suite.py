"""All checks, and how pytest runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from emotion_perception.engine.errors import unknown_name
from emotion_perception.engine.testing import checks_files, checks_infer, checks_pictures, checks_train
from emotion_perception.engine.testing.case import Case

if TYPE_CHECKING:
    import pytest

Check = Callable[[Case, Path], None]


def _checks_of(module: ModuleType) -> tuple[Check, ...]:
    """Returns the checks that a module defines, in their order there; those it imports are helpers."""
    found = {name: value for name, value in vars(module).items() if name.startswith("check_")}
    return tuple(check for check in found.values() if check.__module__ == module.__name__)


# Those that train and measure.
TRAINING_CHECKS: tuple[Check, ...] = _checks_of(checks_train)
# Those that a learner for clips has nothing for.
PICTURE_CHECKS: tuple[Check, ...] = _checks_of(checks_pictures)
CHECKS: tuple[Check, ...] = (*_checks_of(checks_infer), *PICTURE_CHECKS, *TRAINING_CHECKS, *_checks_of(checks_files))


def parametrize(*cases: Case) -> pytest.MarkDecorator:
    """Makes the decorator that runs every check of every case as a test of its own.

    Args:
        cases: The learners; the test takes ``case``, ``check`` and a folder, and calls ``check(case, folder)``.

    Raises:
        UsageError: A case expects the failure of a check that does not exist.
    """
    import pytest

    parameters = []
    for case in cases:
        usual = CHECKS if case.clips is None else [check for check in CHECKS if check not in PICTURE_CHECKS]
        checks = tuple(usual if case.checks is None else case.checks)
        names = [check.__name__ for check in checks]
        for name in case.expected_failures:
            if name not in names:
                raise unknown_name("check", name, names)
        for check in checks:
            reason = case.expected_failures.get(check.__name__)
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
            parameters.append(pytest.param(case, check, id=f"{case.id}-{check.__name__}", marks=marks))
    return pytest.mark.parametrize(("case", "check"), parameters)
