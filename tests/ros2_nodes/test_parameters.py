from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("emotion_perception.ros2_nodes.runtime", exc_type=ImportError)

from emotion_perception.ros2_nodes.parameters import Setting, Settings, common, for_faces
from emotion_perception.ros2_nodes.runtime import Parameter

TABLE = [*common("esr"), *for_faces()]


class Declared:
    """What `Settings` needs of a node, with one given value and a list of warnings."""

    def __init__(self, **given: Any) -> None:
        self._parameter_overrides = given
        self.values: dict[str, Any] = {}
        self.descriptors: dict[str, Any] = {}
        self.warnings: list[str] = []

    def add_on_set_parameters_callback(self, callback: Any) -> None:
        self.callback = callback

    def declare_parameter(self, name: str, default: Any, descriptor: Any) -> None:
        self.values[name], self.descriptors[name] = self._parameter_overrides.get(name, default), descriptor

    def get_parameter(self, name: str) -> Any:
        return Parameter(name, value=self.values[name])

    def get_logger(self) -> Declared:
        return self

    def warning(self, words: str) -> None:
        self.warnings.append(words)


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_every_parameter_has_a_description_and_every_number_a_range(setting: Setting) -> None:
    descriptor = setting.descriptor()
    assert descriptor.name == setting.name
    assert len(descriptor.description) > 20
    assert descriptor.description.endswith(("Takes effect at once.", "Needs a new configure.", "Read at the start."))
    if isinstance(setting.default, float):
        (limits,) = descriptor.floating_point_range
        assert limits.from_value <= setting.default <= limits.to_value
    elif isinstance(setting.default, int) and not isinstance(setting.default, bool):
        (limits,) = descriptor.integer_range
        assert limits.from_value <= setting.default <= limits.to_value
    assert setting.refusal(setting.default) == ""


def test_words_that_are_no_choice_are_refused_with_the_nearest() -> None:
    settings = Settings(Declared(), TABLE)
    result = settings.check([Parameter("max_faces", value=3), Parameter("detector", value="yunnet")])
    assert not result.successful
    assert result.reason == "detector is 'yunnet', expected one of auto, yunet, haar; did you mean 'yunet'?"
    assert not settings.check([Parameter("smoothing_s", value=float("nan"))]).successful
    assert settings.check([Parameter("detector", value="haar"), Parameter("use_sim_time", value=True)]).successful


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_what_cannot_change_while_configured_says_what_to_do(setting: Setting) -> None:
    node = Declared()
    settings = Settings(node, TABLE)
    other = {
        bool: lambda v: not v,
        int: lambda v: v + 1,
        float: lambda v: v + 1.0,
        str: lambda v: setting.choices[-1] if setting.choices else "x",
    }
    changed = Parameter(setting.name, value=other[type(setting.default)](setting.default))
    assert settings.check([changed]).successful
    settings.configured = True
    result = settings.check([changed])
    assert result.successful == setting.live
    if not setting.live:
        assert f"{setting.name} needs a new configure" in result.reason
    assert settings.check([Parameter(setting.name, value=setting.default)]).successful  # nothing changes


def test_values_are_read_where_they_are_used() -> None:
    node = Declared(max_faces=2)
    settings = Settings(node, TABLE)
    assert settings["max_faces"] == 2
    node.values["max_faces"] = 5
    assert settings["max_faces"] == 5


def test_unknown_names_are_said() -> None:
    node = Declared(lerner="esr", use_sim_time=True, **{"qos_overrides./image_raw.subscription.depth": 3})
    Settings(node, TABLE)
    assert node.warnings == ["there is no parameter 'lerner', its value is not used; did you mean 'learner'?"]


def test_the_file_in_config_holds_every_parameter_with_its_default(root: Path) -> None:
    yaml = pytest.importorskip("ruamel.yaml").YAML(typ="safe")
    plain = yaml.load((root / "config" / "esr.yaml").read_text(encoding="utf-8"))["/**"]["ros__parameters"]
    assert plain == {setting.name: setting.default for setting in TABLE}
    assert {name: type(value) for name, value in plain.items()} == {setting.name: type(setting.default) for setting in TABLE}


def test_the_file_in_config_says_which_take_effect_at_once(root: Path) -> None:
    lines = (root / "config" / "esr.yaml").read_text(encoding="utf-8").splitlines()
    live = {line.split(":")[0].strip() for line in lines if line.rstrip().endswith("at once")}
    assert live == {setting.name for setting in TABLE if setting.live}
