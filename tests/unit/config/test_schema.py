"""The JSON Schema says what the loader says: editors must not praise what is refused, nor the reverse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hestia.config import json_schema
from hestia.config.models import BackoffKeys, GatewayKeys, ServiceKeys, spellings
from tests.unit.config.loading import ENGINES, Loader

SCHEMA: dict[str, Any] = json_schema(ENGINES)  # Any: a JSON Schema nests freely
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
BROKEN = Path(__file__).parent / "broken"
# what no schema can say: clashes, combinations, what is on the machine, the text of an address
ONLY_THE_LOADER = (
    "address_", "limits_", "hosts_clash", "later_service_keys", "key_id_", "key_ids_", "key_twice",
    "key_service_twice", "secret_", "yaml_", "columns_", "excerpt_", "duration_too_long", "listen_host",
    "host_header", "list_items", "engine_option_env", "engine_command_empty", "duration_never", "merge_",
    "duration_nothing_waits", "port_taken", "tls_missing_file", "room_fits", "room_together",
)  # fmt: skip

VALID = [
    "{}",
    "services:",
    "services: {ollama: }",
    "port: 0",
    "access_log: 'off'",
    "allowed_hosts: [hestia.lan, {env: HOST}]",
    "services: {a: {base_url: 'http://a:1', idle_timeout: 30m}}",
    "services: {a: {base_url: 'http://a:1', idle_timeout: 1h30m, stop_grace: 0}}",
    "services: {a: {base_url: 'http://a:1', idle_timeout: 0}}",
    "services: {a: {base_url: 'http://a:1', idle_timeout_ms: never}}",
    "services: {a: {base_url: 'http://a:1', idle_timeout_seconds: 1.5}}",
    "services: {a: {base_url: 'unix:/run/a.sock', host_header: app.lan}}",
    "services: {a: {base_url: {env: ADDRESS}}}",
    "services: {a: {base_url: 'http://a:1', restart_backoff: {cap: 2m, factor: 1.5, base_ms: 5}}}",
    "services: {a: {base_url: 'http://a:1', engine: {type: none}}}",
    "services: {a: {engine: {type: process, command: [srv, '{port}'], log_max: 20MiB}}}",
    "services: {a: {engine: {type: process, command: 'srv {port}', env: {A: {env: HOST}}, cwd: /}}}",
]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", VALID)
def test_what_the_loader_takes_the_schema_takes(loader: Loader, text: str) -> None:
    loader(text, env={"HOST": "h.lan", "ADDRESS": "http://a:1"})
    VALIDATOR.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "case",
    [path.stem for path in sorted(BROKEN.glob("*.yml")) if not path.stem.startswith(ONLY_THE_LOADER)],
)
def test_what_is_refused_by_form_the_schema_refuses(case: str) -> None:
    tree = yaml.safe_load((BROKEN / f"{case}.yml").read_text(encoding="utf-8"))
    assert not VALIDATOR.is_valid(tree)


def test_every_spelling_of_every_key_is_known_to_editors() -> None:
    service = SCHEMA["$defs"]["service"]["properties"]
    assert set(spellings(GatewayKeys)) | {"services"} == set(SCHEMA["properties"])
    assert set(spellings(ServiceKeys)) == set(service)
    assert set(spellings(BackoffKeys)) == set(service["restart_backoff"]["properties"])


def test_every_key_is_explained_to_editors() -> None:
    for properties in (SCHEMA["properties"], SCHEMA["$defs"]["service"]["properties"]):
        for name, rule in properties.items():
            assert rule["description"], name


def test_engines_are_told_apart_by_type() -> None:
    found = SCHEMA["$defs"]["service"]["properties"]["engine"]["oneOf"]
    assert {one["properties"]["type"]["const"] for one in found} == set(ENGINES)
    for one in found:
        assert one["additionalProperties"] is False
        assert "type" in one["required"]
