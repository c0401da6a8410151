"""Where the gateway is: each source, and what is never a target (CL-12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hestia.cli.exits import CliError, ExitCode
from hestia.cli.target import config_file, find_target, read_key, service_ids


def url(folder: Path, environment: dict[str, str] | None = None, flag: str | None = None) -> str:
    return find_target(flag, environment or {}, folder).url


def test_cl12_nothing_given_is_localhost_8080(tmp_path: Path) -> None:
    assert url(tmp_path) == "http://localhost:8080"
    assert find_target(None, {}, tmp_path).source == "the default address"


def test_cl12_each_source_and_its_rank(tmp_path: Path) -> None:
    (tmp_path / "hestia_config.yml").write_text("# port: 1\nservices: {}\nport: 9001  # mine\n")
    assert url(tmp_path) == "http://localhost:9001"
    assert find_target(None, {}, tmp_path).source == "the port in hestia_config.yml"
    (tmp_path / ".env").write_text('# x\nexport HESTIA_PORT="9002"\n')
    assert url(tmp_path) == "http://localhost:9002"
    assert url(tmp_path, {"HESTIA_PORT": "9003"}) == "http://localhost:9003"
    named = {"HESTIA_PORT": "9003", "HESTIA_URL": "http://gw:9004/h/"}
    assert url(tmp_path, named) == "http://gw:9004/h"
    assert url(tmp_path, named, "https://other") == "https://other:443"
    assert url(tmp_path, flag="box") == "http://box:8080"


def test_cl12_the_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("port: 9005\n")
    assert url(tmp_path, {"HESTIA_CONFIG_PATH": "own.yml"}) == "http://localhost:9005"
    assert config_file({"HESTIA_CONFIG_PATH": "missing.yml"}, tmp_path) is None


@pytest.mark.parametrize("listening", ["0.0.0.0", "::", "*"])
def test_cl12_a_listening_address_is_never_a_target(tmp_path: Path, listening: str) -> None:
    assert url(tmp_path, {"HESTIA_HOST": listening}) == "http://localhost:8080"


def test_cl12_an_ipv6_address_keeps_its_brackets(tmp_path: Path) -> None:
    assert url(tmp_path, flag="http://[::1]:9000") == "http://[::1]:9000"


@pytest.mark.parametrize("bad", ["ftp://x", "http://", "http://x:99999", "http://x:y"])
def test_cl12_an_address_that_is_none_is_a_usage_error(tmp_path: Path, bad: str) -> None:
    with pytest.raises(CliError) as caught:
        url(tmp_path, flag=bad)
    assert caught.value.exit_code is ExitCode.USAGE
    assert bad in caught.value.detail


def test_cl12_the_key_comes_from_environment_or_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sesame\n")
    assert read_key(None, {"HESTIA_API_KEY": "open"}) == "open"
    assert read_key(str(tmp_path / "key"), {"HESTIA_API_KEY": "open"}) == "sesame"
    with pytest.raises(CliError, match="cannot be read"):
        read_key(str(tmp_path / "missing"), {})


def test_cl24_ids_are_found_in_the_file_without_loading_it(tmp_path: Path) -> None:
    file = tmp_path / "hestia_config.yml"
    file.write_text(
        "port: 1\nservices:\n  # one\n  ollama:\n    base_url: x\n  'my-app': {base_url: y}\n"
        "machines:\n  gpu: {}\n"
    )
    assert service_ids(file) == ["ollama", "my-app"]
    file.write_bytes(b"\xff\xfe\x00services")
    assert service_ids(file) == []
    assert service_ids(None) == []


def test_cl12_a_gateway_with_tls_is_asked_over_https(tmp_path: Path) -> None:
    (tmp_path / "hestia_config.yml").write_text("tls: {certificate: a, key: b}\nport: 8443\n")
    found = find_target(None, {}, tmp_path)
    assert (found.url, found.verify) == ("https://localhost:8443", False)
    assert find_target("https://home.example", {}, tmp_path).verify
    assert url(tmp_path, {"HESTIA_TLS": "{}"}) == "https://localhost:8443"
    (tmp_path / "hestia_config.yml").write_text("port: 8443\nservices: {tls: {base_url: x}}\n")
    assert url(tmp_path) == "http://localhost:8443"


def test_cl12_the_dotenv_is_the_one_beside_the_configuration_as_the_gateway_reads_it(tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    (home / "own.yml").write_text("services: {}\n")
    (home / ".env").write_text("HESTIA_PORT=8111\nHESTIA_TLS={}\n")
    (here / ".env").write_text("HESTIA_PORT=8222\n")
    assert url(here, {"HESTIA_CONFIG_PATH": str(home / "own.yml")}) == "https://localhost:8111"
    assert url(here) == "http://localhost:8222"
