"""`tls:` and `port:`: what becomes of them, where the files count from, and what is shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest

from hestia.config import Row, effective
from hestia.config.schema import json_schema
from hestia.core.model import ServiceId
from tests.fakes.certificates import Authority
from tests.unit.config.loading import ENGINES, Loader

AUTHORITY = Authority()
FILE = "tls: {certificate: tls/fullchain.pem, key: tls/privkey.pem}\nservices:\n"


@pytest.fixture(autouse=True)
def files(loader: Loader) -> None:
    AUTHORITY.write(loader.folder / "tls")


def row(loader: Loader, text: str, key: str, **env: str) -> Row:
    return next(one for one in effective(loader(text, env=env)) if one.key == key)


def test_relative_paths_count_from_the_file(loader: Loader) -> None:
    (loader.folder / "etc").mkdir()
    AUTHORITY.write(loader.folder / "etc" / "tls")
    loader.write(FILE, "etc/own.yml")
    tls = loader(path="etc/own.yml").gateway.tls
    assert tls is not None
    assert tls.certificate == str(loader.folder / "etc/tls/fullchain.pem")
    assert (tls.key_password, tls.min_version) == ("", "1.2")


@pytest.mark.parametrize("written", ["1.3", "'1.3'"])
def test_the_version_may_be_written_as_a_number(loader: Loader, written: str) -> None:
    tls = loader(FILE.replace("}", f", min_version: {written}}}")).gateway.tls
    assert tls is not None
    assert tls.min_version == "1.3"


def test_the_environment_may_say_it_as_json(loader: Loader) -> None:
    given = {"certificate": "tls/fullchain.pem", "key": "tls/privkey.pem"}
    settings = loader(env={"HESTIA_TLS": json.dumps(given)})
    assert settings.gateway.tls is not None
    assert settings.sources["tls"] == "environment HESTIA_TLS"


def test_a_password_is_never_shown(loader: Loader) -> None:
    text = FILE.replace("}", ", key_password: {env: PW}}")
    shown = row(loader, text, "tls", PW="sesame")
    assert isinstance(shown.value, dict)
    assert shown.value["key_password"] == "***"
    assert shown.source == "hestia_config.yml:1"
    assert "sesame" not in repr(loader(text, env={"PW": "sesame"}))


@pytest.mark.parametrize("version", ["1.3", 1.2])
def test_the_schema_takes_what_is_taken(version: object) -> None:
    given = {"certificate": "a", "key": {"file": "k"}, "key_password": {"env": "PW"}, "min_version": version}
    jsonschema.Draft202012Validator(json_schema(ENGINES)).validate({"tls": given})


def test_no_tls_is_shown_as_none(loader: Loader) -> None:
    assert row(loader, "services:\n", "tls").value is None


def test_an_expired_certificate_is_a_warning(loader: Loader) -> None:
    now = datetime.now(UTC)
    AUTHORITY.write(loader.folder / "tls", since=now - timedelta(days=9), until=now - timedelta(days=1))
    assert any("has expired" in one for one in loader(FILE).warnings)


def test_a_service_may_have_a_port(loader: Loader) -> None:
    assert loader.chat("port: 8081").port == 8081
    assert loader.chat().port is None


@pytest.mark.parametrize("value", ["tcp://10.0.0.7:80", "9000"])
def test_a_variable_named_like_it_is_somebody_elses(loader: Loader, value: str) -> None:
    """Docker links and Kubernetes set X_PORT for every neighbour, and programs read their own."""
    settings = loader("services: {chat: {base_url: 'http://a:1', port: 8081}}\n", env={"CHAT_PORT": value})
    assert settings.services[ServiceId("chat")].port == 8081


def test_a_gateway_that_picks_its_port_clashes_with_none(loader: Loader) -> None:
    text = "port: 0\nservices: {chat: {base_url: 'http://localhost:1', port: 8081}}\n"
    assert loader(text).gateway.port == 0
