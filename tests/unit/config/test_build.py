"""What only shows when keys are seen together: defaults that depend on others, clashes, impossible limits."""

from __future__ import annotations

import pytest

from hestia.config.build import Own, is_this_machine
from hestia.core.model import Endpoint
from hestia.core.urls import parse_base_url
from tests.unit.config.loading import Loader

PROCESS = "engine: {type: process, command: [srv, '{port}']}"


def test_a_program_that_is_told_its_port_needs_no_base_url(loader: Loader) -> None:
    (chat,) = loader(f"services: {{chat: {{{PROCESS}}}}}\n").services.values()
    assert chat.instances[0].base_url == "http://127.0.0.1:{port}"


def test_a_port_mark_in_the_programs_environment_counts_too(loader: Loader) -> None:
    text = "services: {chat: {engine: {type: process, command: [srv], env: {PORT: '{port}'}}}}\n"
    (chat,) = loader(text).services.values()
    assert chat.instances[0].base_url == "http://127.0.0.1:{port}"


def test_a_service_that_is_named_like_a_known_one_keeps_its_own_program_and_port(loader: Loader) -> None:
    (own,) = loader(f"services: {{ollama: {{{PROCESS}}}}}\n").services.values()
    assert (own.instances[0].base_url, own.instances[0].health_url) == ("http://127.0.0.1:{port}", "")
    fixed = "services: {ollama: {engine: {type: process, command: [ollama, serve]}}}\n"
    (known,) = loader(fixed).services.values()
    assert known.instances[0].base_url == "http://localhost:11434"
    assert known.instances[0].health_url == "http://localhost:11434/api/tags"


def test_a_fixed_address_beside_a_program_that_is_told_a_free_port_is_a_warning(loader: Loader) -> None:
    (warning,) = loader(f"services: {{chat: {{base_url: 'http://a:1', {PROCESS}}}}}\n").warnings
    assert "services.chat.base_url: 'http://a:1' is a fixed address" in warning
    assert "leave base_url out" in warning
    assert loader(f"services: {{chat: {{base_url: 'http://a:{{port}}', {PROCESS}}}}}\n").warnings == ()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("engine: {type: process, command: [srv]}", "has no base_url"),
        ("base_url: 'http://a:{port}'", "needs an engine that starts the service"),
        ("base_url: 'http://a:{port}', engine: {type: none}", "needs an engine that starts the service"),
        ("base_url: 'http://a:{port}', engine: {type: process, command: [srv]}", "never told its port"),
        ("base_url: 'http://a:1', health_url: 'http://a:{port}/h'", "needs an engine"),
        ("base_url: 'http://a:1', warmup: 6m", "a start may only take 5m"),
        ("base_url: 'http://a:1', warmup: 2s, start_timeout: 1s", "a start may only take 1s"),
        ("base_url: 'http://a:1', restart_backoff: {base: 2m}", "base (2m) is longer than cap (1m)"),
        ("base_url: 'http://a:1', restart_backoff: {cap: 10ms}", "is longer than cap (10ms)"),
        ("base_url: 'http://localhost:8080/x'", "this gateway's own address"),
        ("base_url: 'http://a:1', hosts: [hestia.localhost]", "already leads to the gateway itself"),
    ],
)
def test_ck04_what_cannot_work_together_is_a_fault(loader: Loader, keys: str, said: str) -> None:
    (problem,) = loader.problems(f"services: {{chat: {{{keys}}}}}\n")
    assert said in problem.text
    assert problem.line == 1
    assert problem.remedy


def test_id08_a_warmup_beside_a_health_url_is_a_warning(loader: Loader) -> None:
    settings = loader("services: {chat: {base_url: 'http://a:1', health_url: 'http://a:1/h', warmup: 6m}}\n")
    assert "no effect beside health_url" in settings.warnings[0]


def test_sf11_two_programs_on_one_address_are_a_fault(loader: Loader) -> None:
    text = (
        "services:\n"
        "  a: {base_url: 'http://localhost:9000/one', engine: {type: process, command: [x]}}\n"
        "  b: {base_url: 'https://127.0.0.1:9000', engine: {type: process, command: [y]}}\n"
    )
    (problem,) = loader.problems(text)
    assert problem.key == "services.b.base_url"
    assert "services.a starts a program" in problem.text


def test_two_services_of_somebody_else_may_share_an_address(loader: Loader) -> None:
    text = "services: {a: {base_url: 'http://x:1/a'}, b: {base_url: 'http://x:1/b'}}\n"
    assert len(loader(text).services) == 2


def test_host_names_lead_to_one_service(loader: Loader) -> None:
    text = (
        "services:\n"
        "  a: {base_url: 'http://x:1', hosts: [one.lan, a.localhost]}\n"
        "  b: {base_url: 'http://x:2', hosts: [ONE.lan.]}\n"
    )
    (problem,) = loader.problems(text)
    assert (problem.key, problem.line) == ("services.b.hosts[0]", 3)


@pytest.mark.parametrize(
    ("keys", "limit"),
    [("stop_grace: 3s", 308), ("stop_grace: 3s, start_timeout: 2m", 128), ("request_timeout: 7s", 7)],
)
def test_ck05_a_request_may_wait_until_the_start_is_over(loader: Loader, keys: str, limit: float) -> None:
    """Longer than start_timeout by default: the stop before it and the moment after it count too."""
    assert loader.chat(keys).wait_limit == limit


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://localhost:8080", True),
        ("http://chat.localhost:8080", True),
        ("http://127.9.9.9:8080", True),
        ("http://[::1]:8080", True),
        ("http://0.0.0.0:8080", True),
        ("http://box:8080", True),
        ("http://box.lan:8080", False),
        ("http://192.0.2.1:8080", False),
        ("http://localhost:8081", False),
        ("unix:/run/8080", False),
    ],
)
def test_the_gateways_own_address_is_known_by_its_text(address: str, here: bool) -> None:
    own = Own("127.0.0.1", 8080, frozenset({"box"}))
    assert own.is_here(parse_base_url(address)) == here


def test_a_gateway_on_a_free_port_is_nowhere_yet() -> None:
    assert not Own("127.0.0.1", 0).is_here(Endpoint("http", "localhost", 0))


def test_a_name_that_only_looks_like_this_machine_is_not() -> None:
    assert not is_this_machine("localhost.example")
    assert is_this_machine("::")


OWN_ENGINE = """
from hestia.engines.none import NoneEngine
class Own(NoneEngine):
    name = "NAME"
def register_strategy(registry): registry.register_engine(Own)
"""


def test_an_engine_of_a_file_can_be_used_and_takes_no_installed_ones_place(loader: Loader) -> None:
    text = "services: {a: {base_url: 'http://a:1', engine: {type: own}}}\n"
    folder = loader.folder / "strategies"
    folder.mkdir()
    (folder / "mine.py").write_text(OWN_ENGINE.replace("NAME", "own"), encoding="utf-8")
    (service,) = loader(text).services.values()
    assert service.instances[0].engine == "own"
    (folder / "more.py").write_text(OWN_ENGINE.replace("NAME", "process"), encoding="utf-8")
    (warning,) = loader(text).warnings
    assert "there is an engine 'process' already" in warning
    (folder / "mine.py").write_text("1 / 0", encoding="utf-8")
    (problem,) = loader.problems(text)
    assert "there is no engine 'own'" in problem.text
    assert "mine.py: line 1: ZeroDivisionError" in problem.remedy
