"""Loading: order of precedence, where the file is looked for, zero configuration, files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hestia.config import ConfigProblems
from hestia.core.model import Settings
from tests.unit.config.loading import Loader

FILE = "port: 1\nservices:\n  chat:\n    base_url: http://file:1\n    queue_size: 11\n"


def test_the_command_line_wins_over_the_environment_over_dotenv_over_the_file(loader: Loader) -> None:
    """SPEC 2: one source is taken away at a time."""
    every = {"env": {"HESTIA_PORT": "3"}, "dotenv": "HESTIA_PORT=2\n"}
    assert loader(FILE, port=4, **every).gateway.port == 4  # type: ignore[arg-type]
    assert loader(FILE, port=None, **every).gateway.port == 3  # type: ignore[arg-type]
    assert loader(FILE, dotenv="HESTIA_PORT=2\n").gateway.port == 2
    (loader.folder / ".env").unlink()
    assert loader(FILE).gateway.port == 1
    assert loader("services: {}\n").gateway.port == 8080


def test_the_source_of_each_value_is_known(loader: Loader) -> None:
    settings = loader(
        FILE,
        port=4,
        env={"CHAT_BASE_URL": "http://env:1"},
        dotenv="# first\nCHAT_RETRY_COUNT=3\n",
    )
    assert settings.sources["port"] == "command line --port"
    assert settings.sources["services.chat.base_url"] == "environment CHAT_BASE_URL"
    assert settings.sources["services.chat.retry_count"] == ".env:2"
    assert settings.sources["services.chat.queue_size"] == "hestia_config.yml:5"
    assert "log_level" not in settings.sources


def test_a_service_of_the_file_takes_single_keys_from_the_environment(loader: Loader) -> None:
    settings = loader(FILE, env={"CHAT_QUEUE_SIZE": "22", "CHAT_IDLE_TIMEOUT_MS": "500"})
    (chat,) = settings.services.values()
    assert (chat.queue_size, chat.idle_timeout) == (22, 0.5)
    assert chat.instances[0].base_url == "http://file:1"


def test_a_form_in_the_environment_overrides_another_form_in_the_file(loader: Loader) -> None:
    """Two forms are a fault within one source only."""
    text = "services: {chat: {base_url: 'http://a:1', idle_timeout: 5m}}\n"
    (chat,) = loader(text, env={"CHAT_IDLE_TIMEOUT_SECONDS": "7"}).services.values()
    assert chat.idle_timeout == 7


def test_the_command_line_is_checked_like_the_rest(loader: Loader) -> None:
    (problem,) = loader.problems(log_level="loud")
    assert (problem.source, problem.key) == ("command line", "--log-level loud")
    with pytest.raises(KeyError):
        loader(queue_size=1)


# -- where the file is -------------------------------------------------------------------------


def test_no_file_at_all_is_fine(loader: Loader) -> None:
    assert loader().config_path == ""


@pytest.mark.parametrize("name", ["hestia_config.yml", "hestia_config.yaml"])
def test_the_file_in_the_working_directory_is_found(loader: Loader, name: str) -> None:
    path = loader.write("port: 7\n", name)
    settings = loader()
    assert (settings.config_path, settings.gateway.port) == (str(path), 7)


def test_both_names_at_once_are_a_fault(loader: Loader) -> None:
    loader.write("port: 1\n", "hestia_config.yaml")
    (problem,) = loader.problems("port: 2\n")
    assert "both exist" in problem.text


def test_the_option_wins_over_the_variable_over_the_folder(loader: Loader) -> None:
    loader.write("port: 1\n")
    loader.write("port: 2\n", "two.yml")
    loader.write("port: 3\n", "three.yml")
    by_variable = {"HESTIA_CONFIG_PATH": "two.yml"}
    assert loader(env=by_variable).gateway.port == 2
    assert loader(env=by_variable, path="three.yml").gateway.port == 3
    assert loader(env={"HESTIA_CONFIG_PATH": ""}).gateway.port == 1


@pytest.mark.parametrize(
    ("path", "env", "source", "key"),
    [
        ("nope.yml", {}, "command line", "--config"),
        (None, {"HESTIA_CONFIG_PATH": "nope.yml"}, "environment", "HESTIA_CONFIG_PATH"),
    ],
)
def test_a_file_that_was_named_must_exist(
    loader: Loader, path: str | None, env: dict[str, str], source: str, key: str
) -> None:
    (problem,) = loader.problems(path=path, env=env)
    assert (problem.source, problem.key, problem.text) == (source, key, "nope.yml does not exist")
    assert key in problem.remedy


def test_dotenv_secrets_and_state_count_from_the_folder_of_the_file(loader: Loader) -> None:
    (loader.folder / "etc").mkdir()
    loader.write("HESTIA_PORT=5\n", "etc/.env")
    loader.write("box.lan\n", "etc/name.txt")
    loader.write("state_dir: state\nallowed_hosts: [{file: name.txt}]\n", "etc/h.yml")
    gateway = loader(path="etc/h.yml").gateway
    assert gateway.port == 5
    assert gateway.state_dir == str(loader.folder / "etc" / "state")
    assert gateway.allowed_hosts == ("box.lan",)


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"HOME": "/home/me"}, "/home/me/.local/state/hestia"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "/xdg"}, "/xdg/hestia"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "relative"}, "/home/me/.local/state/hestia"),
        ({"XDG_STATE_HOME": "/xdg", "STATE_DIRECTORY": "/var/lib/hestia:/other"}, "/var/lib/hestia"),
        ({"STATE_DIRECTORY": "/var/lib/hestia", "HESTIA_STATE_DIR": "/mine"}, "/mine"),
    ],
)
def test_state_is_kept_where_systemd_or_xdg_say(loader: Loader, env: dict[str, str], folder: str) -> None:
    assert loader(env=env).gateway.state_dir == folder


# -- zero configuration (SPEC 2.4) -------------------------------------------------------------


def the_ollama(settings: Settings) -> tuple[str, str, str]:
    (service,) = settings.services.values()
    assert service.id == "ollama"
    (instance,) = service.instances
    return instance.base_url, instance.health_url, instance.engine


OLLAMA = ("http://localhost:11434", "http://localhost:11434/api/tags")


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "port: 9\n", "services:\n", "---\n"])
def test_without_services_there_is_ollama(loader: Loader, text: str | None) -> None:
    assert the_ollama(loader(text)) == (*OLLAMA, "none")


def test_an_ollama_on_the_path_is_started_on_demand(loader: Loader) -> None:
    loader.programs = ("ollama",)
    settings = loader(env={"OLLAMA_MODELS": "/models", "OLLAMA_IDLE_TIMEOUT": "5m", "OTHER": "x"})
    assert the_ollama(settings) == (*OLLAMA, "process")
    (service,) = settings.services.values()
    options = service.instances[0].options
    assert getattr(options, "command") == ["ollama", "serve"]  # noqa: B009  # options are opaque to us
    assert getattr(options, "env") == {"OLLAMA_HOST": "127.0.0.1:11434", "OLLAMA_MODELS": "/models"}  # noqa: B009
    assert service.idle_timeout == 300


@pytest.mark.parametrize(
    "address",
    ["http://gpu.lan:11434", "https://localhost:11434", "http://localhost:11434/v1", "unix:/run/o.sock"],
)
def test_an_ollama_elsewhere_is_not_started_here(loader: Loader, address: str) -> None:
    loader.programs = ("ollama",)
    base_url, health_url, engine = the_ollama(loader(env={"OLLAMA_BASE_URL": address}))
    assert (base_url, engine) == (address, "none")
    assert health_url == ("" if address.startswith("unix:") else f"{address}/api/tags")


def test_services_of_ones_own_leave_ollama_out(loader: Loader) -> None:
    assert list(loader(FILE).services) == ["chat"]
    assert list(loader("services: {}\n").services) == []
    assert list(loader("services: {ollama: }\n").services) == ["ollama"]


def test_environment_services_stand_beside_ollama(loader: Loader) -> None:
    assert list(loader(env={"CHAT_BASE_URL": "http://a:1"}).services) == ["ollama", "chat"]


# -- files that are none (ET-03) ---------------------------------------------------------------


def test_a_folder_in_the_place_of_the_file_is_said(loader: Loader) -> None:
    """A container's mount of a missing file makes a folder: it must not count as "no file"."""
    (loader.folder / "hestia_config.yml").mkdir()
    (problem,) = loader.problems()
    assert (problem.source, problem.text) == ("hestia_config.yml", "is a folder, not a file")
    (problem,) = loader.problems(path="hestia_config.yml")
    assert problem.text == "hestia_config.yml is a folder, not a file"


def test_a_link_to_nowhere_is_said(loader: Loader) -> None:
    (loader.folder / "hestia_config.yml").symlink_to("gone.yml")
    (problem,) = loader.problems()
    assert problem.text == "leads to a file that does not exist"


def test_a_device_is_no_configuration(loader: Loader) -> None:
    (problem,) = loader.problems(path="/dev/null")
    assert problem.text == "/dev/null is no ordinary file"


def test_a_file_that_cannot_be_read_is_said(loader: Loader) -> None:
    """/proc/self/mem is an ordinary file whose first byte nobody can read, not even root."""
    if not os.path.isfile("/proc/self/mem"):
        pytest.skip("this system has no /proc/self/mem")
    (problem,) = loader.problems(path="/proc/self/mem")
    assert problem.text.startswith("cannot be read: ")
    assert problem.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_said(loader: Loader) -> None:
    loader.write("port: 1\n").chmod(0)
    (problem,) = loader.problems()
    assert problem.text == "cannot be read: Permission denied"


def test_a_binary_file_is_said_with_its_first_wrong_byte(loader: Loader) -> None:
    (loader.folder / "hestia_config.yml").write_bytes(b"port: 1\nx: gr\xf6\xdfe\n")
    (problem,) = loader.problems()
    assert (problem.line, problem.column) == (2, 6)
    assert problem.text == "the byte 0xf6 is no UTF-8 text"


def test_a_huge_file_is_refused_before_it_is_parsed(loader: Loader) -> None:
    with (loader.folder / "hestia_config.yml").open("wb") as file:
        file.truncate(33 * 2**20)
    (problem,) = loader.problems()
    assert problem.text == "is larger than 32 MiB"


@pytest.mark.parametrize("text", ["\ufeffport: 7\n", "port: 7\r\n", "port: 7"])
def test_marks_and_line_ends_of_other_systems_do_not_matter(loader: Loader, text: str) -> None:
    (loader.folder / "hestia_config.yml").write_bytes(text.encode())
    assert loader().gateway.port == 7


def test_a_broken_dotenv_does_not_hide_the_faults_of_the_file(loader: Loader) -> None:
    (loader.folder / ".env").write_bytes(b"A=\xff\n")
    found = loader.problems("prot: 1\n")
    assert [problem.source for problem in found] == [".env", "hestia_config.yml"]


def test_nothing_of_the_surroundings_is_read_but_what_was_handed_in(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Twice in one process, whatever the process's own environment says."""
    monkeypatch.setenv("HESTIA_PORT", "99")
    monkeypatch.chdir("/")
    assert loader(env={}).gateway.port == 8080


def test_config_problems_say_the_first_and_how_many_more(loader: Loader) -> None:
    with pytest.raises(ConfigProblems) as found:
        loader("prot: 1\nhst: 2\n")
    assert "hestia_config.yml:1:1: prot: unknown key (and 1 more)" in str(found.value)


def test_fm04_nothing_configured_and_no_ollama_says_so_with_three_ways_on(loader: Loader) -> None:
    (warning,) = loader().warnings
    assert "there is no program 'ollama' on the PATH" in warning
    assert "http://localhost:11434" in warning
    for way in ("install it", "hestia config example", "hestia demo"):
        assert way in warning


def test_fm04_who_names_the_address_is_not_told(loader: Loader) -> None:
    assert loader(env={"OLLAMA_BASE_URL": "http://localhost:11500"}).warnings == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_working_directory_that_cannot_be_entered_has_no_files(loader: Loader) -> None:
    loader.write("port: 1\n")
    loader.folder.chmod(0o700)
    os.seteuid(65534)
    try:
        assert loader().config_path == ""
        with pytest.raises(ConfigProblems, match="may not enter its folder"):
            loader(env={"HESTIA_CONFIG_PATH": "hestia_config.yml"})
    finally:
        os.seteuid(0)


def test_wp16_a_template_that_cannot_be_used_is_a_warning_and_its_path_counts_from_the_file(
    loader: Loader, tmp_path: Path
) -> None:
    """The page that is built in is shown instead, so nothing is refused."""
    own = tmp_path / "own.html"
    own.write_text("one\n{% block header %}")
    found = loader("waiting_page: own.html")
    assert found.gateway.waiting_page == str(own)
    (warning,) = [one for one in found.warnings if "ollama" not in one]
    assert warning.startswith(f"waiting_page: {own}:2: Unexpected end of template")
    own.write_text("{% extends 'waiting.html' %}")
    assert not [one for one in loader("waiting_page: own.html").warnings if "waiting_page" in one]
