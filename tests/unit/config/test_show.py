"""What `config show` and GET /v1/config list: effective values, their sources, no secret (CL-21)."""

from __future__ import annotations

import json

import pytest

from hestia.config.models import BackoffKeys, GatewayKeys, ServiceKeys
from tests.unit.config.loading import Loader

CANARY = "hunter2"
ONE = "services:\n  chat:\n    base_url: http://a:1\n    idle_timeout_ms: 90000\n"


def test_every_key_has_a_row(loader: Loader) -> None:
    rows = loader.rows(ONE)
    expected = {*GatewayKeys.model_fields}
    expected |= {f"services.chat.{name}" for name in ServiceKeys.model_fields}
    expected |= {f"services.chat.restart_backoff.{name}" for name in BackoffKeys.model_fields}
    expected -= {"services.chat.engine", "services.chat.restart_backoff"}
    assert set(rows) == expected | {"services.chat.engine.type"}


def test_what_was_set_comes_first_and_says_where(loader: Loader) -> None:
    rows = loader.rows(ONE, env={"CHAT_QUEUE_SIZE": "7"}, port=9)
    changed = [row.changed for row in rows.values()]
    assert changed == sorted(changed, reverse=True)
    assert {key: row.source for key, row in rows.items() if row.changed and key != "state_dir"} == {
        "port": "command line --port",
        "services.chat.base_url": "hestia_config.yml:3",
        "services.chat.idle_timeout": "hestia_config.yml:4",
        "services.chat.queue_size": "environment CHAT_QUEUE_SIZE",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 8080),
        ("access_log", True),
        ("allowed_hosts", []),
        ("services.chat.idle_timeout", "90s"),
        ("services.chat.start_timeout", "5m"),
        ("services.chat.on_cold", "auto"),
        ("services.chat.max_in_flight", None),
        ("services.chat.restart_backoff.cool_down", "30s"),
        ("services.chat.engine.type", "none"),
    ],
)
def test_values_are_shown_as_they_would_be_written(loader: Loader, key: str, value: object) -> None:
    assert loader.rows(ONE)[key].value == value


def test_ck04_a_limit_that_follows_another_says_which(loader: Loader) -> None:
    row = loader.rows(f"{ONE}    start_timeout: 2m\n")["services.chat.request_timeout"]
    assert (row.value, row.source, row.changed) == ("2m", "default (as start_timeout)", False)


def test_options_of_the_engine_have_rows(loader: Loader) -> None:
    text = "services:\n  a:\n    engine:\n      type: process\n      command: [srv, '{port}']\n"
    rows = loader.rows(text)
    assert rows["services.a.engine.command"].value == ["srv", "{port}"]
    assert rows["services.a.engine.command"].source == "hestia_config.yml:5"
    assert rows["services.a.engine.cwd"].source == "default"


def test_the_rows_are_json(loader: Loader) -> None:
    rows = loader.rows(f"{ONE}    idle_timeout: never\n".replace("    idle_timeout_ms: 90000\n", ""))
    json.dumps([row.value for row in rows.values()], allow_nan=False)


SECRETS = {
    "gateway": "log_level: {env: WORD}\nservices: {}\n",
    "gateway list": "allowed_hosts: [a.lan, {env: HOST}]\nservices: {}\n",
    "address": "services: {a: {base_url: {env: URL}, health_url: {env: URL}}}\n",
    "list": "services: {a: {base_url: 'http://a:1', hosts: [{env: HOST}, a.lan]}}\n",
    "host header": "services: {a: {base_url: 'http://a:1', host_header: {env: HOST}}}\n",
    "argument": "services: {a: {base_url: 'http://a:1', engine: {type: process, "
    "command: [x, {env: TEXT}]}}}\n",
    "command": "services: {a: {base_url: 'http://a:1', engine: {type: process, command: {env: TEXT}}}}\n",
    "variable": "services: {a: {base_url: 'http://a:1', engine: {type: process, command: [x], "
    "env: {A.B: {env: TEXT}, C: {file: secret.txt}}}}}\n",
    "named": "services: {a: {base_url: 'http://a:1', engine: {type: process, command: [x], "
    "env: {API_TOKEN: hunter2, DB_PASSWORD: 'hunter2'}}}}\n",
    "option": "services: {a: {base_url: 'http://a:1', engine: {type: process, "
    "command: [x, --api-key, hunter2, --token=hunter2]}}}\n",
    "shell": "services: {a: {base_url: 'http://a:1', engine: {type: process, "
    "command: 'TOKEN=hunter2 x --password hunter2 --header \"Authorization: Bearer hunter2\"'}}}\n",
    "alias": "services: {a: {base_url: &u {env: URL}}, b: {base_url: *u}}\n",
}  # fmt: skip


@pytest.mark.parametrize("place", SECRETS)
def test_cl21_no_secret_is_shown_wherever_it_stands(loader: Loader, place: str) -> None:
    loader.write(f"{CANARY}\n", "secret.txt")
    env = {"WORD": "debug", "HOST": f"{CANARY}.lan", "URL": f"http://{CANARY}:1", "TEXT": CANARY}
    rows = loader.rows(SECRETS[place], env=env)
    assert CANARY not in repr(rows)
    assert "debug" not in repr(rows).lower()
    assert "***" in repr(rows)


def test_the_source_of_a_secret_is_told(loader: Loader) -> None:
    row = loader.rows(SECRETS["address"], env={"URL": "http://a:1"})["services.a.base_url"]
    assert (row.value, row.source) == ("***", "hestia_config.yml:1 (secret: environment URL)")


def test_a_secret_of_dotenv_is_hidden_like_any_other(loader: Loader) -> None:
    rows = loader.rows(SECRETS["address"], dotenv=f"URL=http://{CANARY}:1\n")
    assert CANARY not in repr(rows)


def test_an_option_that_only_sounds_secret_is_shown(loader: Loader) -> None:
    rows = loader.rows(
        "services: {a: {engine: {type: process, command: [x, '{port}', --max-tokens, '512']}}}\n"
    )
    assert rows["services.a.engine.command"].value == ["x", "{port}", "--max-tokens", "512"]
