"""`headers`, `no_wake`, `cors` and their neighbours: what they become, where they are shown, what they hide.

Faults are in the corpus: `broken/rules_of_requests.yml`.
"""

from __future__ import annotations

import json

import pytest

from hestia.config.rules import HeadersKeys
from hestia.config.sizes import Size, size_text
from hestia.core.model import Settings
from hestia.core.rules import Cors, Edits, Headers, NoWake, Underscores
from tests.unit.config.loading import Loader

FILE = """
services:
  chat:
    base_url: http://localhost:9000
    headers:
      request: {set: {Authorization: {env: TOKEN}, X-Version: 2}, remove: [Cookie]}
      response: {remove: [Server]}
    no_wake: [{path: /favicon.ico}, {method: head, user_agent: "Prometheus/*"}]
    cors: {origins: ["https://App.lan:443/", "http://app.lan:3000", "https://app.lan"]}
    retry_on_status: [503, 502, 503]
    max_body: 100MiB
    underscore_headers: drop
    fallback_url: http://backup.lan:8000/base
"""
TOKEN = {"TOKEN": "Bearer hunter2"}


def test_every_key_becomes_what_the_core_knows(loader: Loader) -> None:
    (chat,) = loader(FILE, env=TOKEN).services.values()
    assert chat.headers == Headers(
        request=Edits(set=(("Authorization", "Bearer hunter2"), ("X-Version", "2")), remove=("Cookie",)),
        response=Edits(remove=("Server",)),
    )
    assert chat.no_wake == (NoWake(path="/favicon.ico"), NoWake(method="head", user_agent="Prometheus/*"))
    assert chat.cors == Cors(origins=("https://app.lan", "http://app.lan:3000"))
    assert chat.retry_on_status == (503, 502)
    assert chat.max_body == 100 * 2**20
    assert chat.underscore_headers is Underscores.DROP
    assert chat.fallback_url == "http://backup.lan:8000/base"
    assert chat.rules is not None


def test_a_service_that_says_nothing_has_no_rules(loader: Loader) -> None:
    assert loader.chat("headers: {request: {}}, no_wake: [], cors: {origins: []}").rules is None


def test_show_names_each_source_and_hides_what_came_from_a_secret(loader: Loader) -> None:
    rows = loader.rows(FILE, env=TOKEN)
    headers = rows["services.chat.headers"]
    assert headers.source == "hestia_config.yml:6"
    assert headers.value == {
        "request": {"set": {"Authorization": "***", "X-Version": "2"}, "remove": ["Cookie"]},
        "response": {"set": {}, "remove": ["Server"]},
    }
    assert rows["services.chat.max_body"].value == "100MiB"
    assert rows["services.chat.no_wake"].value == [
        {"path": "/favicon.ico"},
        {"method": "head", "user_agent": "Prometheus/*"},
    ]
    assert rows["services.chat.cors"].value == {"origins": ["https://app.lan", "http://app.lan:3000"]}
    assert "hunter2" not in str(rows)


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Api-Key", "x-auth-token"])
def test_show_hides_the_value_of_a_header_that_is_named_like_a_secret(loader: Loader, name: str) -> None:
    rows = loader.rows(
        f"services: {{a: {{base_url: 'http://a:1', headers: {{request: {{set: {{{name}: hunter2}}}}}}}}}}"
    )
    assert "hunter2" not in str(rows["services.a.headers"])


def test_the_environment_gives_them_as_json(loader: Loader) -> None:
    settings: Settings = loader(
        env={
            "CHAT_BASE_URL": "http://localhost:9000",
            "CHAT_NO_WAKE": json.dumps([{"path": "/metrics"}]),
            "CHAT_HEADERS": json.dumps({"request": {"set": {"X-A": "1"}}}),
            "CHAT_RETRY_ON_STATUS": "[503]",
        }
    )
    (chat,) = [one for name, one in settings.services.items() if name == "chat"]
    assert chat.no_wake == (NoWake(path="/metrics"),)
    assert chat.headers == Headers(request=Edits(set=(("X-A", "1"),)))
    assert chat.retry_on_status == (503,)


def test_a_secret_that_is_missing_is_said_at_its_place(loader: Loader) -> None:
    (problem,) = loader.problems(FILE)
    assert problem.key == "services.chat.headers.request.set.Authorization.env"
    assert "TOKEN is not set" in problem.text


def test_the_gateways_own_address_is_no_fallback(loader: Loader) -> None:
    problem = loader.chat_problem("fallback_url: 'http://localhost:8080/services/chat'")
    assert problem.key == "services.chat.fallback_url"
    assert "this gateway's own address" in problem.text


def test_the_same_header_in_two_spellings_is_a_fault(loader: Loader) -> None:
    problem = loader.chat_problem("headers: {request: {set: {X-A: '1', x-a: '2'}}}")
    assert problem.key == "services.chat.headers.request.set"
    assert problem.text == "'X-A' and 'x-a' are the same header; keep one of the two"


def test_the_edits_of_both_sides_are_empty_by_default() -> None:
    assert HeadersKeys().made() == Headers()


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("1.5 KiB", 1536), ("10MB", 10**7), ("2GiB", 2**31), ("0.5kb", 500)]
)
def test_sizes(text: str, size: int) -> None:
    assert Size().read(text) == size
    assert Size().read(size_text(size)) == size


@pytest.mark.parametrize("text", [10, "10", "0MiB", "0.1B", "-1MB", "1 TB", "MiB", True, None])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match=r"size|at least 1B"):
        Size().read(text)
