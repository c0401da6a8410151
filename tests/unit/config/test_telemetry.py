"""`telemetry:`: what becomes of it, and what is shown."""

from __future__ import annotations

import jsonschema
import pytest

from hestia.config import effective
from hestia.config.schema import json_schema
from hestia.core.difference import difference
from hestia.core.model import Telemetry
from tests.unit.config.loading import ENGINES, Loader


def read(loader: Loader, text: str) -> Telemetry:
    found = loader(text).gateway.telemetry
    assert found is not None
    return found


def test_without_the_key_there_are_no_traces_whatever_the_environment_says(loader: Loader) -> None:
    assert loader(env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}).gateway.telemetry is None


def test_an_empty_mapping_leaves_everything_to_the_environment(loader: Loader) -> None:
    assert read(loader, "telemetry: {}\n") == Telemetry()


@pytest.mark.parametrize("end", ["", "/", "/v1/traces", "/v1/traces/"])
def test_the_path_of_the_protocol_may_be_written_or_not(loader: Loader, end: str) -> None:
    found = read(loader, f"telemetry: {{otlp_endpoint: 'http://c:4318/otlp{end}'}}\n")
    assert found.otlp_endpoint == "http://c:4318/otlp"


def test_the_environment_may_say_it_as_json(loader: Loader) -> None:
    settings = loader(env={"HESTIA_TELEMETRY": '{"sample": 0.25, "service_name": "attic"}'})
    assert settings.gateway.telemetry == Telemetry(sample=0.25, service_name="attic")


def test_what_headers_say_is_never_shown(loader: Loader) -> None:
    text = "telemetry: {headers: {Authorization: 'Bearer canary', X-Tenant: 7}}\n"
    settings = loader(text)
    assert read(loader, text).headers == (("Authorization", "Bearer canary"), ("X-Tenant", "7"))
    (row,) = [one for one in effective(settings) if one.key == "telemetry"]
    assert isinstance(row.value, dict)
    assert row.value["headers"] == {"Authorization": "***", "X-Tenant": "***"}
    assert "canary" not in repr(settings)


def test_a_change_waits_for_a_restart(loader: Loader) -> None:
    found = difference(loader(""), loader("telemetry: {}\n"))
    assert (found.waiting, found.gateway) == (("telemetry",), ())


def test_the_schema_knows_it() -> None:
    schema = json_schema(ENGINES)
    jsonschema.validate({"telemetry": {"otlp_endpoint": "http://c:4318", "sample": 0.5}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"telemetry": {"sample": 2}}, schema)
