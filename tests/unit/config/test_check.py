"""Spelling, forms and secrets of keys, whatever they mean together."""

from __future__ import annotations

import pytest

from hestia.core.model import NEVER
from tests.unit.config.loading import Loader

# -- the duration rule (SPEC 1) ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [
        ("idle_timeout: 30m", 1800),
        ("idle_timeout_ms: 1800000", 1800),
        ("idle_timeout_seconds: 1800", 1800),
        ("idle_timeout_ms: 0.5", 0.0005),
        ("idle_timeout_ms: '250'", 0.25),
        ("idle_timeout_seconds: 1.5", 1.5),
        ("idle_timeout: never", NEVER),
        ("idle_timeout_ms: never", NEVER),
        ("idle_timeout: 0", NEVER),
        ("idle_timeout_ms: 0", NEVER),
        ("idle_timeout_seconds: 0", NEVER),
        ("", NEVER),
    ],
)
def test_a_duration_may_be_written_in_three_ways(loader: Loader, keys: str, seconds: float) -> None:
    least = 0.001
    if 0 < seconds < least:
        assert "at least 1ms" in loader.chat_problem(keys).text
    else:
        assert loader.chat(keys).idle_timeout == seconds


@pytest.mark.parametrize(
    "forms",
    [
        ("idle_timeout", "idle_timeout_ms"),
        ("idle_timeout", "idle_timeout_seconds"),
        ("idle_timeout_ms", "idle_timeout_seconds"),
        ("idle_timeout_seconds", "idle_timeout"),
    ],
)
def test_two_forms_of_one_key_are_a_fault_even_when_they_agree(
    loader: Loader, forms: tuple[str, str]
) -> None:
    written = {"idle_timeout": "1s", "idle_timeout_ms": "1000", "idle_timeout_seconds": "1"}
    problem = loader.chat_problem(", ".join(f"{form}: {written[form]}" for form in forms))
    assert problem.key == f"services.chat.{forms[1]}"
    assert problem.text == f"says the same as {forms[0]!r} (hestia_config.yml:1)"
    assert problem.remedy == "keep one of the two"


@pytest.mark.parametrize("value", ["300", "'300'", "1.5"])
def test_a_bare_number_is_a_fault(loader: Loader, value: str) -> None:
    assert "expected a unit after the number" in loader.chat_problem(f"idle_timeout: {value}").text


@pytest.mark.parametrize("key", ["start_timeout", "connect_timeout", "request_timeout", "drain_timeout"])
def test_never_is_refused_where_a_time_must_end(loader: Loader, key: str) -> None:
    assert "never is not possible here" in loader.chat_problem(f"{key}: never").text


@pytest.mark.parametrize("key", ["stop_grace", "drain_timeout", "warmup", "retry_delay", "appear_timeout"])
def test_nothing_at_all_is_fine_where_nothing_makes_sense(loader: Loader, key: str) -> None:
    chat = loader.chat(f"{key}: 0")
    assert getattr(chat.instances[0] if key == "warmup" else chat, key) == 0


# -- unknown keys ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("idle_timout", "idle_timeout"),
        ("idle-timeout", "idle_timeout"),
        ("Idle_Timeout", "idle_timeout"),
        ("idle_timeout_sec", "idle_timeout_seconds"),
        ("healthurl", "health_url"),
        ("health_check", "health_url"),
        ("ttl", "idle_timeout"),
        ("upstream", "base_url"),
        ("fallbackurl", "fallback_url"),
        ("frobnicate", ""),
        ("x" * 1000, ""),
    ],
)
def test_cl20_an_unknown_key_is_told_the_nearest_one(loader: Loader, written: str, nearest: str) -> None:
    problem = loader.chat_problem(f"{written}: 1")
    assert problem.text == "unknown key"
    assert problem.nearest == nearest
    assert nearest or "configuration-reference.md" in problem.remedy
    assert len(problem.render()) < 1000


@pytest.mark.parametrize(
    ("text", "home"),
    [
        ("base_url: http://a:1\n", "`services:`"),
        ("services: {chat: {base_url: 'http://a:1', log_level: INFO}}\n", "the top of the file"),
        ("services: {chat: {base_url: 'http://a:1', command: [x]}}\n", "services.chat.engine"),
        ("services: {chat: {base_url: 'http://a:1', image: x}}\n", "services.chat.engine"),
    ],
)
def test_a_key_of_another_place_is_told_its_place(loader: Loader, text: str, home: str) -> None:
    (problem,) = loader.problems(text)
    assert problem.text == "unknown key here"
    assert home in problem.remedy


# -- secrets -----------------------------------------------------------------------------------

CANARY = "hunter2"


def test_a_secret_fills_any_text_from_a_variable_or_a_file(loader: Loader) -> None:
    loader.write(f"{CANARY}-file\n", "secret.txt")
    settings = loader(
        "allowed_hosts: [{env: HOST}]\n"
        "services:\n"
        "  chat:\n"
        "    base_url: {env: ADDRESS}\n"
        "    idle_timeout: {env: TIME}\n"
        "    idle_websocket: {env: WORD}\n"
        "    hosts: [chat.lan, {env: HOST}]\n"
        "    engine:\n"
        "      type: process\n"
        "      command: [srv, {env: ARGUMENT}]\n"
        "      env: {A: {env: ARGUMENT}, B: {file: secret.txt}}\n",
        env={"HOST": "h.lan", "ADDRESS": "http://a:1", "TIME": "5m", "WORD": "open", "ARGUMENT": CANARY},
    )
    (chat,) = settings.services.values()
    assert chat.instances[0].base_url == "http://a:1"
    assert (chat.idle_timeout, chat.idle_websocket, chat.hosts) == (300, "open", ("chat.lan", "h.lan"))
    options = chat.instances[0].options
    assert getattr(options, "command") == ["srv", CANARY]  # noqa: B009  # options are opaque to us
    assert getattr(options, "env") == {"A": CANARY, "B": f"{CANARY}-file"}  # noqa: B009
    assert CANARY not in repr(settings.sources)


def test_a_secret_may_come_from_dotenv(loader: Loader) -> None:
    text = "services: {chat: {base_url: {env: ADDRESS}}}\n"
    assert loader(text, dotenv="ADDRESS=http://a:1\n").services


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("{env: GONE}", "the variable GONE is not set"),
        ("{env: EMPTY}", "the variable EMPTY is not set"),
        ("{file: gone.txt}", "the file gone.txt cannot be read"),
        ("{file: empty.txt}", "the file empty.txt is empty"),
        ("{file: large.txt}", "the file large.txt is too large"),
        ("{file: binary.txt}", "the file binary.txt is not UTF-8 text"),
        ("{file: .}", "cannot be read"),
        ("{env: 7}", "expected the name of a variable"),
        ("{file: }", "expected the path of a file"),
        ("{env: A, file: b}", "names two sources of a secret"),
        ("{evn: A}", "found a mapping"),
    ],
)
def test_a_secret_that_cannot_be_had_says_why(loader: Loader, asked: str, said: str) -> None:
    loader.write("\n", "empty.txt")
    loader.write("x" * 70_000, "large.txt")
    (loader.folder / "binary.txt").write_bytes(b"\xff\xfe")
    (problem,) = loader.problems(f"services: {{chat: {{base_url: {asked}}}}}\n", env={"EMPTY": ""})
    assert said in problem.text


SECRET_PLACES = {
    "gateway": "log_level: {env: CANARY}\n",
    "gateway list": "allowed_hosts: [{env: CANARY}]\n",
    "state folder": "state_dir: {env: CANARY}\nprot: 1\n",
    "address": "services: {chat: {base_url: {env: CANARY}}}\n",
    "duration": "services: {chat: {base_url: 'http://a:1', idle_timeout: {env: CANARY}}}\n",
    "unit": "services: {chat: {base_url: 'http://a:1', idle_timeout_ms: {env: CANARY}}}\n",
    "word": "services: {chat: {base_url: 'http://a:1', on_cold: {env: CANARY}}}\n",
    "list": "services: {chat: {base_url: 'http://a:1', hosts: [{env: CANARY}]}}\n",
    "number": "services: {chat: {base_url: 'http://a:1', queue_size: {env: CANARY}}}\n",
    "machine": "services: {chat: {base_url: 'http://a:1', machine: {env: CANARY}}}\n",
    "option": "services: {chat: {base_url: 'http://a:1', engine: {type: process, command: [x], "
    "log_max: {env: CANARY}}}}\n",
    "stamped": "services: {chat: {base_url: 'http://a:1', engine: {type: process, command: [x], "
    "env: {HESTIA_KEY: {env: CANARY}}}}}\n",
}


@pytest.mark.parametrize("place", SECRET_PLACES)
def test_a_secret_of_a_wrong_form_is_refused_without_being_shown(loader: Loader, place: str) -> None:
    """`=` makes it impossible everywhere."""
    for problem in loader.problems(SECRET_PLACES[place], env={"CANARY": f"{CANARY} ="}):
        assert CANARY not in repr(problem)
        assert CANARY not in problem.render()


@pytest.mark.parametrize(
    ("text", "canary"),
    [
        ("services: {a: {base_url: {env: CANARY}}}\nport: 7070\n", f"http://{CANARY}.localhost:7070"),
        (
            "services: {a: {base_url: {env: CANARY}, engine: {type: process, command: [x]}},"
            " b: {base_url: {env: CANARY}, engine: {type: process, command: [y]}}}\n",
            f"http://{CANARY}:9000",
        ),
        (
            "services: {a: {base_url: 'http://a:1', hosts: [{env: CANARY}]},"
            " b: {base_url: 'http://a:2', hosts: [{env: CANARY}]}}\n",
            f"{CANARY}.lan",
        ),
    ],
)
def test_a_secret_that_clashes_is_refused_without_being_shown(loader: Loader, text: str, canary: str) -> None:
    (problem,) = loader.problems(text, env={"CANARY": canary})
    assert CANARY not in repr(problem)
    assert "the secret from environment CANARY" in problem.text


def test_a_secret_written_into_the_file_is_blotted_in_every_line_shown(loader: Loader) -> None:
    found = loader.problems(
        "services:\n"
        "  chat:\n"
        "    base_url: http://me:hunter2@a:1\n"
        "    engine: {type: process, command: [x, --api-key, hunter2], env: {TOKEN: hunter2}, bad: 1}\n"
        "    password: hunter2\n",
        env={"CHAT_BASE_URL": "http://me:hunter2@a:1", "CHAT_PASSWORD": "hunter2"},
    )
    assert len(found) >= 3
    for problem in found:
        assert CANARY not in problem.render()
