from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from emotion_perception.engine import registry
from emotion_perception.engine.errors import UsageError
from emotion_perception.engine.registry import GROUP, create_learner, learner_class, learner_names

Register = Callable[..., None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Replaces what is installed by entry points of one's own."""

    def register(*entries: tuple[str, str]) -> None:
        found = [EntryPoint(name, value, GROUP) for name, value in entries]
        monkeypatch.setattr(registry, "entry_points", lambda group: [entry for entry in found if entry.group == group])

    return register


def test_our_own_learner_is_installed_under_its_name() -> None:
    from emotion_perception import FacialEmotionLearner

    assert "esr" in learner_names()
    assert learner_class("esr") is FacialEmotionLearner
    learner = create_learner("esr", ensemble_size=3, device="cpu")
    assert isinstance(learner, FacialEmotionLearner)
    assert (learner.name, learner.ensemble_size, learner.loaded) == ("esr", 3, False)


def test_names_are_sorted_and_listed_without_importing(register: Register) -> None:
    register(("zeta", "no_such_module:Zeta"), ("alpha", "no_such_module:Alpha"))
    assert learner_names() == ["alpha", "zeta"]
    assert "no_such_module" not in sys.modules


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("alfa", "unknown learner 'alfa'; did you mean 'alpha'?"),
        ("Alpha", "unknown learner 'Alpha'; did you mean 'alpha'?"),
        ("q", "unknown learner 'q'; known: alpha, zeta"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(register: Register, name: str, text: str) -> None:
    register(("zeta", "m:Zeta"), ("alpha", "m:Alpha"))
    for call in (learner_class, create_learner):
        with pytest.raises(UsageError) as caught:
            call(name)
        assert str(caught.value) == text


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("no_such_module:Learner", "No module named 'no_such_module'"),
        ("emotion_perception.engine.registry:NoSuchLearner", "has no attribute 'NoSuchLearner'"),
    ],
)
def test_a_plugin_that_cannot_be_imported_says_what_to_do(register: Register, value: str, cause: str) -> None:
    register(("broken", value))
    with pytest.raises(UsageError) as caught:
        learner_class("broken")
    text = str(caught.value)
    assert text.startswith(f"learner 'broken' ({value}) cannot be imported: ")
    assert cause in text
    assert text.endswith("; reinstall its package")
    assert isinstance(caught.value.__cause__, (ImportError, AttributeError))


def test_of_two_packages_with_one_name_neither_wins(register: Register) -> None:
    register(("same", "one:Learner"), ("same", "two:Learner"))
    for call in (learner_names, lambda: learner_class("same")):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == "learner 'same' is registered twice: one:Learner and two:Learner; uninstall one"


def test_one_package_found_twice_is_no_conflict(register: Register) -> None:
    # A checkout on the path and its own editable installation bring the same entry point.
    register(("same", "one:Learner"), ("same", "one:Learner"))
    assert learner_names() == ["same"]


def test_without_any_learner_the_way_out_is_named(register: Register) -> None:
    register()
    assert learner_names() == []
    with pytest.raises(UsageError, match=r"^no learners are registered; install the package: pip install .*$"):
        learner_class("esr")
