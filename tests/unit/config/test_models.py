"""The keys: each is documented, and the whole contract is either here or refused as not available yet."""

from __future__ import annotations

import dataclasses
import re

import pytest
from pydantic import BaseModel

from hestia.config import later
from hestia.config.instances import InstanceKeys
from hestia.config.models import BackoffKeys, EngineKeys, GatewayKeys, ServiceKeys, kind_of, spellings
from hestia.config.rules import plain
from hestia.config.values import Duration
from hestia.core.model import Backoff, GatewaySettings, ServiceSettings

MODELS = [GatewayKeys, ServiceKeys, InstanceKeys, BackoffKeys, EngineKeys]
# SPEC 2.1 and 2.3, word for word; what follows a key in brackets there is its own mapping
SERVICE_CONTRACT = re.findall(
    r"\w+",
    """
    base_url health_url warmup_ms idle_timeout_ms retry_count retry_delay_ms fallback_url queue_size
    request_timeout_seconds strategy instances routing semaphore_enabled semaphore_machine_id
    semaphore_start_template_id semaphore_stop_template_id semaphore_task_timeout semaphore_poll_interval
    engine machine machines needs start_timeout stop_grace max_in_flight keep_warm hosts on_cold no_wake
    busy_probe headers connect_timeout response_timeout port tls_verify host_header path_policy
    retry_on_status cors depends_on idle_websocket warm_concurrency pin exclusive priority max_room_wait
    min_hot drain_timeout pending_timeout external on_exit stable_after restart_backoff busy_probe_max
    appear_timeout stop_mode
    """,
)
GATEWAY_CONTRACT = re.findall(
    r"\w+",
    """
    semaphore_base_url semaphore_timeout semaphore_project semaphore_api_key semaphore_username
    semaphore_password trusted_proxies allowed_hosts identity_headers tls access_log retention machines
    placement host port log_level log_format database_url on_exit orphan_policy
    """,
)
BACKOFF_CONTRACT = ["base", "factor", "cap", "intensity", "period", "cool_down"]


@pytest.mark.parametrize("key", SERVICE_CONTRACT)
def test_every_service_key_of_the_contract_is_real_or_refused_as_to_come(key: str) -> None:
    assert (key in spellings(ServiceKeys)) != (key in later.spellings(later.SERVICE))


@pytest.mark.parametrize("key", GATEWAY_CONTRACT)
def test_every_gateway_key_of_the_contract_is_real_or_refused_as_to_come(key: str) -> None:
    assert (key in spellings(GatewayKeys)) != (key in later.spellings(later.GATEWAY))


def test_the_backoff_keys_are_those_of_the_contract_and_the_budget() -> None:
    """FB-04 has a budget per service and hour without naming its key."""
    assert list(BackoffKeys.model_fields) == [*BACKOFF_CONTRACT, "per_hour"]


@pytest.mark.parametrize("model", MODELS)
def test_every_key_says_what_it_does_its_default_and_since_when(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert isinstance(field.json_schema_extra, dict)
        assert field.json_schema_extra["since"], name
        hidden_default = field.default in (None, "")
        assert not hidden_default or field.json_schema_extra.get("shown"), f"{name}: its default says nothing"
        assert name in ("engine", "restart_backoff", "routing") or kind_of(field) is not None, name


@pytest.mark.parametrize("model", [GatewayKeys, ServiceKeys, InstanceKeys, BackoffKeys])
def test_the_defaults_and_the_examples_are_valid(model: type[BaseModel]) -> None:
    for field in model.model_fields.values():
        kind = kind_of(field)
        for example in field.examples or ():
            if kind is not None:
                kind.read(example)
        if kind is not None and field.default not in (None, "", float("inf")):
            default = field.default
            written = f"{default}s" if isinstance(kind, Duration) else plain(default)
            kind.read(list(written) if isinstance(written, tuple) else written)


def default_of(field: dataclasses.Field[object]) -> object:
    return {} if field.default is dataclasses.MISSING else field.default


def test_the_defaults_are_those_of_the_domain() -> None:
    """One place for each: a default cannot drift."""
    for values, model in ((GatewaySettings(), GatewayKeys), (Backoff(), BackoffKeys)):
        for name in model.model_fields:
            assert getattr(values, name) == model.model_fields[name].default
    known = {field.name: field for field in dataclasses.fields(ServiceSettings)}
    for name, field in ServiceKeys.model_fields.items():
        if name in known and name not in ("restart_backoff", "on_exit", "instances", "strategy"):
            assert field.default == default_of(known[name]), name


def test_a_duration_has_three_spellings_and_nothing_else_has() -> None:
    known = spellings(ServiceKeys)
    assert known["idle_timeout"] == ("idle_timeout", "")
    assert known["idle_timeout_ms"] == ("idle_timeout", "ms")
    assert known["idle_timeout_seconds"] == ("idle_timeout", "s")
    assert "queue_size_ms" not in known
