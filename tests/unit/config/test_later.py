"""Keys to come: refused as such, with their feature, in the file and in the environment."""

from __future__ import annotations

import pytest

from hestia.config import later
from hestia.config.gateway import variable_of
from hestia.config.models import GatewayKeys, ServiceKeys, spellings
from tests.unit.config.loading import Loader


@pytest.mark.parametrize("key", later.spellings(later.SERVICE))
def test_a_service_key_to_come_is_refused_at_its_place(loader: Loader, key: str) -> None:
    problem = loader.chat_problem(f"{key}: x")
    assert problem.key == f"services.chat.{key}"
    assert "not available yet in this version (" in problem.text
    assert later.spellings(later.SERVICE)[key].feature in problem.text


@pytest.mark.parametrize("key", later.spellings(later.GATEWAY))
def test_a_gateway_key_to_come_is_refused_at_its_place(loader: Loader, key: str) -> None:
    (problem,) = loader.problems(f"{key}: x\n")
    assert (problem.line, problem.column, problem.key) == (1, 1, key)
    assert "not available yet in this version (" in problem.text


@pytest.mark.parametrize("name", later.ENGINES)
def test_an_engine_to_come_is_refused_with_what_to_do_until_then(loader: Loader, name: str) -> None:
    problem = loader.chat_problem(f"engine: {{type: {name}}}")
    assert f"the engine '{name}' is not available yet" in problem.text
    assert "type: none" in problem.remedy


@pytest.mark.parametrize("name", later.ENVIRONMENT)
def test_a_variable_to_come_is_refused_without_its_value(loader: Loader, name: str) -> None:
    (problem,) = loader.problems(env={name: "hunter2"})
    assert problem.source == "environment"
    assert problem.key.startswith(f"{name}=")
    assert "not available yet" in problem.text
    if "PASSWORD" in name or "KEY" in name:
        assert "hunter2" not in problem.render()


def test_every_variable_of_the_contract_is_known() -> None:
    """SPEC 2.2 names them; PATH and SERVICES are the loader's own."""
    real = {variable_of(name) for name in GatewayKeys.model_fields}
    for name in (
        "HESTIA_LOG_LEVEL", "HESTIA_HOST", "HESTIA_PORT", "HESTIA_DATABASE_URL",
        "SEMAPHORE_BASE_URL", "SEMAPHORE_TIMEOUT", "SEMAPHORE_PROJECT", "SEMAPHORE_API_KEY",
        "SEMAPHORE_USERNAME", "SEMAPHORE_PASSWORD",
    ):  # fmt: skip
        assert name in real
    for name in ("HESTIA_API_KEYS", "HESTIA_DASHBOARD_USERNAME", "HESTIA_DASHBOARD_PASSWORD"):
        assert name in later.ENVIRONMENT


def test_no_key_is_both_real_and_to_come() -> None:
    assert not set(spellings(ServiceKeys)) & set(later.spellings(later.SERVICE))
    assert not set(spellings(GatewayKeys)) & set(later.spellings(later.GATEWAY))
