"""Checked keys → the core's settings; the hash that says whether a running instance still fits."""

from __future__ import annotations

import pytest

from hestia.core.model import NEVER, HostHeader, IdleWebSocket, OnCold, PathPolicy
from tests.unit.config.loading import Loader

ENGINE = "engine: {type: process, command: [srv, '{port}']}"


def test_words_become_the_domains_own(loader: Loader) -> None:
    chat = loader.chat("idle_websocket: Open, on_cold: REJECT, path_policy: verbatim, host_header: preserve")
    assert chat.idle_websocket is IdleWebSocket.OPEN
    assert chat.on_cold is OnCold.REJECT
    assert chat.path_policy is PathPolicy.VERBATIM
    assert chat.host_header is HostHeader.PRESERVE


def test_a_literal_host_stays_a_text(loader: Loader) -> None:
    assert loader.chat("host_header: App.lan:8443").host_header == "app.lan:8443"


def test_a_service_with_nothing_but_its_address_has_the_defaults_of_the_seeds(loader: Loader) -> None:
    """SPEC 2.1."""
    chat = loader.chat()
    assert (chat.idle_timeout, chat.retry_count, chat.retry_delay, chat.queue_size) == (NEVER, 1, 0, 1000)
    (instance,) = chat.instances
    assert (instance.id, instance.machine, instance.engine) == ("main", "local", "none")
    assert (instance.health_url, instance.warmup) == ("", 0)
    assert not instance.managed


def digest(loader: Loader, text: str) -> str:
    (service,) = loader(f"services: {{a: {{{text}}}}}\n").services.values()
    return service.instances[0].options_hash


@pytest.mark.parametrize(
    "other",
    [
        "engine: {type: process, command: [srv, --new, '{port}']}",
        "engine: {type: process, command: [srv, '{port}'], env: {A: b}}",
        f"{ENGINE}, base_url: 'http://127.0.0.1:{{port}}/x'",
    ],
)
def test_the_hash_changes_with_what_is_started(loader: Loader, other: str) -> None:
    assert digest(loader, ENGINE) != digest(loader, other)


@pytest.mark.parametrize(
    "same",
    [ENGINE, f"{ENGINE}, idle_timeout: 5m, queue_size: 7", f"{ENGINE}, hosts: [a.lan]"],
)
def test_the_hash_stays_when_only_the_gateway_behaves_otherwise(loader: Loader, same: str) -> None:
    """A reload of these must not restart the program (SPEC 2, reload)."""
    assert digest(loader, ENGINE) == digest(loader, same)
