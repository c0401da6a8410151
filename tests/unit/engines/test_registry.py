"""Engines are found by name; one that cannot be loaded is told of and harms no other."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from hestia.core.errors import ConfigError
from hestia.engines.none import NoneEngine
from hestia.engines.process import ProcessEngine
from hestia.engines.registry import GROUP, EngineRegistry, load_engines


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


NONE = point("none", "hestia.engines.none:NoneEngine")


def test_the_built_in_engines_come_through_the_public_door() -> None:
    engines = load_engines()
    assert engines["none"] is NoneEngine
    assert engines["process"] is ProcessEngine


def test_an_engine_is_imported_when_it_is_asked_for() -> None:
    registry = EngineRegistry([NONE, point("broken", "no_such_module:Engine")])
    assert registry.names() == ["broken", "none"]
    assert registry.plugin("none") is NoneEngine


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("no_such_module:Engine", "ModuleNotFoundError"),
        ("hestia.engines.none:NoSuchClass", "AttributeError"),
        ("hestia.engines.none:NoneOptions", "lacks start"),
        ("hestia.engines.process:ProcessEngine", "calls itself 'process'"),
    ],
)
def test_an_engine_that_cannot_be_loaded_is_reported_and_the_others_work(value: str, says: str) -> None:
    registry = EngineRegistry([NONE, point("broken", value)])
    failures = registry.failures()
    assert list(failures) == ["broken"]
    assert "'broken'" in failures["broken"].detail
    assert says in failures["broken"].detail
    assert failures["broken"].remedy
    assert registry.plugin("none") is NoneEngine


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="nearest name is 'none'") as caught:
        EngineRegistry([NONE]).plugin("nome")
    assert "none" in caught.value.remedy


def test_two_packages_with_one_name_are_refused() -> None:
    registry = EngineRegistry([NONE, NONE, point("x", "a:B"), point("x", "c:D")])
    assert registry.plugin("none") is NoneEngine
    with pytest.raises(ConfigError, match="two packages"):
        registry.plugin("x")
