from __future__ import annotations

import importlib

import pytest

import emotion_perception


def test_the_list_of_public_names_is_that_of_the_lazy_ones() -> None:
    # The list is written out for type checkers and editors, the table for the import on first use.
    assert set(emotion_perception.__all__) == {*emotion_perception._PUBLIC, "__version__"}
    assert set(emotion_perception.__all__) <= set(dir(emotion_perception))


@pytest.mark.parametrize("name", emotion_perception._PUBLIC)
def test_every_public_name_leads_where_the_table_says(name: str) -> None:
    home = importlib.import_module(f"emotion_perception.{emotion_perception._PUBLIC[name]}")
    assert getattr(emotion_perception, name) is getattr(home, name)


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'emotion_perception' has no attribute 'Lerner'"):
        _ = emotion_perception.Lerner
