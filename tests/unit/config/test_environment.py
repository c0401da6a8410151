"""Environment variables (SPEC 2.2): which one says what, which are left alone, which are faults."""

from __future__ import annotations

import pytest

from hestia.core.model import NEVER
from tests.unit.config.loading import Loader

HOME = "services: {chat-room: {base_url: 'http://a:1'}}\n"


@pytest.mark.parametrize(
    ("variable", "service"),
    [
        ("REMOTE_API_BASE_URL", "remote-api"),
        ("X_BASE_URL", "x"),
        ("GPT4_BASE_URL", "gpt4"),
        ("MY_BASE_URL_BASE_URL", "my-base-url"),
    ],
)
def test_a_base_url_alone_defines_a_service(loader: Loader, variable: str, service: str) -> None:
    settings = loader("services: {}\n", env={variable: "http://a:1"})
    assert list(settings.services) == [service]
    assert settings.sources[f"services.{service}"] == f"environment {variable}"


@pytest.mark.parametrize("variable", ["_BASE_URL", "A__B_BASE_URL_", "lower_BASE_URL", "BASE_URL"])
def test_other_names_define_nothing(loader: Loader, variable: str) -> None:
    assert not loader("services: {}\n", env={variable: "http://a:1"}).services


def test_an_id_with_dashes_is_found_by_underscores(loader: Loader) -> None:
    (room,) = loader(HOME, env={"CHAT_ROOM_QUEUE_SIZE": "7"}).services.values()
    assert room.queue_size == 7


def test_the_longest_name_is_the_services_own(loader: Loader) -> None:
    """`CHAT_ROOM_…` is chat-room's even where there is a service `chat`."""
    text = "services: {chat: {base_url: 'http://a:1'}, chat-room: {base_url: 'http://a:2'}}\n"
    settings = loader(text, env={"CHAT_ROOM_QUEUE_SIZE": "7", "CHAT_QUEUE_SIZE": "8"})
    assert [one.queue_size for one in settings.services.values()] == [8, 7]


@pytest.mark.parametrize(
    ("name", "value", "key", "result"),
    [
        ("TLS_VERIFY", "No", "tls_verify", False),
        ("TLS_VERIFY", "1", "tls_verify", True),
        ("IDLE_TIMEOUT", "30m", "idle_timeout", 1800.0),
        ("IDLE_TIMEOUT_MS", "600000", "idle_timeout", 600.0),
        ("IDLE_TIMEOUT_MS", "0", "idle_timeout", NEVER),
        ("IDLE_TIMEOUT", "never", "idle_timeout", NEVER),
        ("REQUEST_TIMEOUT_SECONDS", "2.5", "request_timeout", 2.5),
        ("HOSTS", '["a.lan", "b.lan"]', "hosts", ("a.lan", "b.lan")),
        ("ON_COLD", "REJECT", "on_cold", "reject"),
        ("MAX_IN_FLIGHT", " 3 ", "max_in_flight", 3),
    ],
)
def test_any_key_of_a_service_can_be_set(
    loader: Loader, name: str, value: str, key: str, result: object
) -> None:
    (room,) = loader(HOME, env={f"CHAT_ROOM_{name}": value}).services.values()
    assert getattr(room, key) == result


def test_mappings_are_json(loader: Loader) -> None:
    env = {
        "CHAT_ROOM_ENGINE": '{"type": "process", "command": ["srv"], "env": {"A": "b"}}',
        "CHAT_ROOM_RESTART_BACKOFF": '{"cap": "2m", "base_ms": 5}',
    }
    (room,) = loader(HOME, env=env).services.values()
    assert room.instances[0].engine == "process"
    assert (room.restart_backoff.cap, room.restart_backoff.base) == (120, 0.005)


BAD = [
    ({"CHAT_ROOM_HOSTS": "a.lan"}, "expected a list as JSON"),
    ({"CHAT_ROOM_HOSTS": '{"a": 1}'}, "expected a list as JSON"),
    ({"CHAT_ROOM_HOSTS": "[" * 100_000}, "expected a list as JSON"),
    ({"CHAT_ROOM_HOSTS": '["a b"]'}, "expected a host name"),
    ({"CHAT_ROOM_ENGINE": "process"}, "expected a mapping as JSON"),
    ({"CHAT_ROOM_ENGINE": '{"type": "proces"}'}, "there is no engine 'proces'"),
    ({"CHAT_ROOM_ENGINE": '{"type": "process", "command": ["x"], "comand": 1}'}, "unknown key"),
    ({"CHAT_ROOM_TLS_VERIFY": "maybe"}, "expected true or false"),
    ({"CHAT_ROOM_IDLE_TIMEOUT": "300"}, "expected a unit after the number"),
    ({"CHAT_ROOM_IDLE_TIMEOUT_MS": "5m"}, "expected a number of milliseconds"),
    ({"CHAT_ROOM_IDLE_TIMEOUT": "5m", "CHAT_ROOM_IDLE_TIMEOUT_MS": "5"}, "says the same as"),
    ({"CHAT_ROOM_BASE_URL": "chat:1"}, "has no scheme"),
    ({"CHAT_ROOM_MACHINES": "[db]"}, "remove the variable for now"),
    ({"CHAT_ROOM_NO_WAKE": "/metrics"}, 'expected a list as JSON, such as [{"path"'),
    ({"CHAT_ROOM_CORS": "[]"}, 'expected a mapping as JSON, such as {"origins"'),
    ({"CHAT_ROOM_SEMAPHORE_ENABLED": "true"}, "needs semaphore_machine_id"),
    ({"HESTIA_PORT": "http"}, "expected a whole number"),
    ({"HESTIA_ACCESS_LOG": "perhaps"}, "expected true or false"),
    ({"HESTIA_ALLOWED_HOSTS": "a.lan"}, "expected a list as JSON"),
    ({"HESTIA_LOG_LEVL": "INFO"}, "unknown variable"),
    ({"HESTIA_ENV_SERVICES": "perhaps"}, "expected true or false"),
    ({"SEMAPHORE_BASE_URL": "localhost:3000"}, "has no scheme"),
    ({"SEMAPHORE_PROJECT": "-1"}, "expected the id of a project, a number from 1, or its name"),
    ({"SEMAPHORE_TIMEOUT": "soon"}, "expected seconds, such as 300, or a duration"),
]


@pytest.mark.parametrize(("env", "said"), BAD, ids=lambda value: str(value)[:50])
def test_cl20_a_fault_names_the_variable_and_what_was_found(
    loader: Loader, env: dict[str, str], said: str
) -> None:
    (problem,) = loader.problems(HOME, env=env)
    assert said in problem.text
    assert problem.source == "environment"
    assert problem.line == 0
    assert any(problem.key.startswith(f"{name}=") for name in env)
    assert problem.render().startswith("environment: ")


def test_every_variable_of_the_corpus_is_said_at_once(loader: Loader) -> None:
    env = {name: value for one, _ in BAD for name, value in one.items()}
    named = {problem.key.partition("=")[0] for problem in loader.problems(HOME, env=env)}
    assert named >= {name for one, _ in BAD if len(one) == 1 for name in one} - {
        "CHAT_ROOM_IDLE_TIMEOUT",
        "CHAT_ROOM_SEMAPHORE_ENABLED",  # looked at when all else is well
    }


@pytest.mark.parametrize("name", ["HESTIA_BASE_URL", "SEMAPHORE_X_BASE_URL"])
def test_reserved_names_define_no_service(loader: Loader, name: str) -> None:
    settings = loader("services: {}\n", env={name: "http://a:1"})
    assert not settings.services


def test_an_unknown_hestia_variable_is_said_but_harmless(loader: Loader) -> None:
    """Others use the prefix too; one that is nearly ours is a fault (see the corpus)."""
    (warning,) = loader(HOME, env={"HESTIA_FAVOURITE_COLOUR": "red"}).warnings
    assert "HESTIA_FAVOURITE_COLOUR" in warning
    assert "red" not in warning


@pytest.mark.parametrize("name", ["HESTIA_URL", "HESTIA_API_KEY", "HESTIA_KEY", "HESTIA_TEST_JOBS"])
def test_variables_of_the_command_line_and_of_tests_are_not_ours(loader: Loader, name: str) -> None:
    assert loader(HOME, env={name: "x"}).warnings == ()


def test_an_empty_variable_is_not_set(loader: Loader) -> None:
    settings = loader(HOME, env={"CHAT_ROOM_QUEUE_SIZE": "", "Y_BASE_URL": "", "HESTIA_PORT": ""})
    assert list(settings.services) == ["chat-room"]
    assert settings.gateway.port == 8080


# -- the gateway's own address (SPEC 2.2) ------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:8080/services/ollama",
        "http://127.0.0.1:8080",
        "http://[::1]:8080/",
        "http://ollama.localhost:8080",
        "HTTP://LocalHost:8080",
    ],
)
def test_a_clients_base_url_in_the_same_shell_is_ignored_with_the_reason(
    loader: Loader, address: str
) -> None:
    settings = loader(env={"OLLAMA_BASE_URL": address})
    (ollama,) = settings.services.values()
    assert ollama.instances[0].base_url == "http://localhost:11434"
    (warning,) = settings.warnings
    assert f"OLLAMA_BASE_URL={address}" in warning
    assert "this gateway's own address" in warning


def test_another_port_of_this_machine_is_no_loop(loader: Loader) -> None:
    settings = loader(env={"CHAT_BASE_URL": "http://localhost:8080"}, port=9090)
    assert "chat" in settings.services
    assert settings.warnings == ()


def test_a_service_that_only_a_loop_defines_does_not_exist(loader: Loader) -> None:
    settings = loader("services: {}\n", env={"OPENAI_BASE_URL": "http://localhost:8080/services/chat/v1"})
    assert not settings.services
    assert "OPENAI_BASE_URL" in settings.warnings[0]


# -- defining and not defining -----------------------------------------------------------------


@pytest.mark.parametrize("word", ["off", "false", "0", "no"])
def test_environment_services_can_be_turned_off(loader: Loader, word: str) -> None:
    env = {"HESTIA_ENV_SERVICES": word, "OPENAI_BASE_URL": "http://a:1", "CHAT_ROOM_QUEUE_SIZE": "7"}
    settings = loader(HOME, env=env)
    assert list(settings.services) == ["chat-room"]
    assert [one.queue_size for one in settings.services.values()] == [7]


@pytest.mark.parametrize(
    "name", ["GPU_IDLE_TIMEOUT_MS", "GPU_SEMAPHORE_ENABLED", "GPU_FALLBACK_URL", "GPU_WARMUP_MS"]
)
def test_keys_without_a_base_url_from_anywhere_are_reported_and_skipped(loader: Loader, name: str) -> None:
    settings = loader(HOME, env={name: "1"})
    assert list(settings.services) == ["chat-room"]
    (warning,) = settings.warnings
    assert name in warning
    assert "GPU_BASE_URL" in warning


def test_a_service_of_the_file_without_base_url_is_reported_and_skipped(loader: Loader) -> None:
    settings = loader("services:\n  chat:\n    queue_size: 7\n  gpu:\n", env={"CHAT_IDLE_TIMEOUT": "5m"})
    assert not settings.services
    assert len(settings.warnings) == 2
    assert "(CHAT_IDLE_TIMEOUT)" in settings.warnings[0]
    assert "services.chat.base_url" in settings.warnings[0]
    assert "(hestia_config.yml:4)" in settings.warnings[1]


def test_a_base_url_from_the_environment_completes_a_service_of_the_file(loader: Loader) -> None:
    settings = loader("services: {chat: {queue_size: 7}}\n", env={"CHAT_BASE_URL": "http://a:1"})
    assert settings.services.keys() == {"chat"}


@pytest.mark.parametrize(
    "name", ["OLLAMA_HOST", "OLLAMA_DEBUG", "CHAT_ROOM_PORT", "CHAT_ROOM_SECRET", "PATH", "LANG"]
)
def test_variables_of_the_programs_themselves_are_left_alone(loader: Loader, name: str) -> None:
    """Docker links set X_PORT=tcp://…; programs read their own X_HOST."""
    text = "services: {chat-room: {base_url: 'http://a:1'}, ollama: }\n"
    assert loader(text, env={name: "tcp://10.0.0.1:80"}).warnings == ()


def test_a_variable_that_is_nearly_a_key_is_said(loader: Loader) -> None:
    (warning,) = loader(HOME, env={"CHAT_ROOM_IDLE_TIMOUT": "5m"}).warnings
    assert "did you mean CHAT_ROOM_IDLE_TIMEOUT?" in warning


# -- .env --------------------------------------------------------------------------------------


def test_dotenv_defines_services_like_the_environment(loader: Loader) -> None:
    settings = loader("services: {}\n", dotenv="export REMOTE_API_BASE_URL='http://a:1'\n")
    assert settings.sources["services.remote-api"] == ".env:1"


def test_a_fault_of_dotenv_has_its_line_and_caret(loader: Loader) -> None:
    (problem,) = loader.problems(HOME, dotenv="# mine\nCHAT_ROOM_QUEUE_SIZE=none\n")
    assert (problem.source, problem.line) == (".env", 2)
    assert "CHAT_ROOM_QUEUE_SIZE=none" in problem.render()


def test_two_forms_in_two_sources_are_no_fault_the_environment_wins(loader: Loader) -> None:
    settings = loader(HOME, dotenv="CHAT_ROOM_IDLE_TIMEOUT=5m\n", env={"CHAT_ROOM_IDLE_TIMEOUT_MS": "7"})
    (room,) = settings.services.values()
    assert room.idle_timeout == 0.007


def test_a_dollar_in_dotenv_is_refused_where_it_would_be_used(loader: Loader) -> None:
    (problem,) = loader.problems(HOME, dotenv="OTHER=$HOME\nCHAT_ROOM_BASE_URL=http://$NAME:1\n")
    assert "'$'" in problem.text
    assert "single quotes" in problem.remedy


def test_a_config_path_in_dotenv_cannot_work_and_is_said(loader: Loader) -> None:
    (problem,) = loader.problems(HOME, dotenv="HESTIA_CONFIG_PATH=x.yml\n")
    assert "no effect in a .env file" in problem.text


def test_secrets_of_the_environment_are_not_shown(loader: Loader) -> None:
    found = loader.problems(env={"HESTIA_DASHBOARD_PASSWORD": "hunter2", "HESTIA_API_KEYS": "hunter2"})
    assert len(found) == 2
    assert all("hunter2" not in problem.render() for problem in found)
