"""`hestia config` as a person meets it: output, streams, exit codes; none of it needs a gateway."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from hestia.strategies import files
from tests.e2e.cli import PATIENCE, PROGRAM, Caller, Ran, environment

BROKEN = "prot: 1\nservices:\n  chat:\n    base_url: localhost:9000\n"
SECRET = "hunter2"
WITH_SECRETS = (
    "services:\n"
    "  chat:\n"
    "    base_url: {env: ADDRESS}\n"
    "    engine: {type: process, command: [x, {env: ADDRESS}], env: {API_TOKEN: hunter2}}\n"
)


@pytest.fixture
def hestia(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """The command line in an empty folder, with an environment that says nothing to Hestia."""
    for name in list(os.environ):
        if name.startswith(("HESTIA_", "SEMAPHORE_", "OLLAMA_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HESTIA_URL", "http://127.0.0.1:9")  # nobody is there, and nobody is asked
    return Caller(capsys)


def write(text: str, name: str = "hestia_config.yml") -> None:
    Path(name).write_text(text, encoding="utf-8")


# -- check -------------------------------------------------------------------------------------


def test_check_without_any_file_is_fine(hestia: Caller) -> None:
    ran = hestia("config", "check", "--quiet")
    assert ran == Ran(0, "no file, defaults: 1 service, no mistake\n", "")


def test_cl20_check_prints_every_mistake_with_its_line_and_ends_with_1(hestia: Caller) -> None:
    write(BROKEN)
    ran = hestia("config", "check")
    assert ran == Ran(
        1,
        "hestia_config.yml:1:1: prot: unknown key\n"
        "    1 | prot: 1\n"
        "      | ^^^^ nearest: port\n"
        "hestia_config.yml:4:15: services.chat.base_url: 'localhost:9000' has no scheme; "
        "write http://localhost:9000\n"
        "    4 |     base_url: localhost:9000\n"
        "      |               ^^^^^^^^^^^^^^\n"
        "2 errors\n",
        "",
    )


def test_check_says_which_strategy_file_keeps_everybody_waiting(
    hestia: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TRIAL_LIMIT", 2.0)
    Path("strategies").mkdir()
    write("while True: pass", "strategies/endless.py")
    write("services: {a: {base_url: 'http://a:1'}}")
    ran = hestia("config", "check")
    assert ran.code == 0
    assert ran.err.count("strategies/endless.py takes long; it may take 2 s") == 1
    assert "takes long" not in hestia("config", "check", "--quiet").err


def test_check_as_json_has_the_parts_of_every_mistake(hestia: Caller) -> None:
    write(BROKEN)
    ran = hestia("config", "check", "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["ok"], ran.err) == (1, False, "")
    first = document["problems"][0]
    assert {key: first[key] for key in ("source", "line", "column", "key", "found", "nearest")} == {
        "source": "hestia_config.yml",
        "line": 1,
        "column": 1,
        "key": "prot",
        "found": "1",
        "nearest": "port",
    }


def test_check_says_on_stderr_what_is_odd_and_yet_works(
    hestia: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_IDLE_TIMEOUT_MS", "5")
    ran = hestia("config", "check")
    assert (ran.code, ran.out) == (0, "no file, defaults: 1 service, no mistake\n")
    assert "warning: GPU_IDLE_TIMEOUT_MS" in ran.err
    assert hestia("config", "check", "--quiet").err == ""
    assert json.loads(hestia("config", "check", "--json").out)["warnings"]


@pytest.mark.parametrize(("name", "code"), [("other.yml", 0), ("gone.yml", 1), (".", 1)])
def test_check_looks_at_another_file(hestia: Caller, name: str, code: int) -> None:
    write("port: 7\n", "other.yml")
    ran = hestia("config", "check", "--config", name)
    assert ran.code == code
    assert name in ran.out


def test_cl26_a_file_cannot_write_to_the_terminal(hestia: Caller) -> None:
    write('"\\e[31mred": 1\nhost: "\\e[2J"\n')
    ran = hestia("config", "check")
    assert ran.code == 1
    assert "\x1b" not in ran.out + ran.err


# -- show --------------------------------------------------------------------------------------


def test_cl21_show_lists_what_was_set_first_with_its_source(hestia: Caller) -> None:
    write("services:\n  chat:\n    base_url: http://a:1\n    idle_timeout: 90s\n")
    ran = hestia("config", "show")
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert ran.code == 0
    assert lines[:3] == [
        ["KEY", "VALUE", "SOURCE"],
        ["services.chat.base_url", "http://a:1", "hestia_config.yml:3"],
        ["services.chat.idle_timeout", "90s", "hestia_config.yml:4"],
    ]
    assert ["port", "8080", "default"] in lines
    diff = hestia("config", "show", "--diff", "--no-header").out.splitlines()
    assert "default" not in "".join(diff)
    assert len(diff) < len(lines)


def test_cl21_show_hides_secrets_in_every_form(hestia: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDRESS", f"http://{SECRET}:1")
    write(WITH_SECRETS)
    for arguments in (["show"], ["show", "--json"], ["show", "--diff"], ["check"], ["check", "--json"]):
        ran = hestia("config", *arguments)
        assert ran.code == 0, ran
        assert SECRET not in ran.out + ran.err
    assert (
        "services.chat.base_url\t***\thestia_config.yml:3 (secret: environment ADDRESS)"
        in hestia("config", "show").out
    )


def test_a_broken_file_shows_no_secret_either(hestia: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDRESS", f"{SECRET}\\")
    write(WITH_SECRETS.replace("API_TOKEN: hunter2", "API_TOKEN: [hunter2]"))
    for arguments in (["show"], ["show", "--json"], ["check"], ["check", "--json"]):
        ran = hestia("config", *arguments)
        assert ran.code == 1
        assert SECRET not in ran.out + ran.err


def test_show_of_a_broken_file_says_what_check_says(hestia: Caller) -> None:
    write(BROKEN, "my file.yml")
    ran = hestia("config", "show", "--config", "my file.yml")
    assert (ran.code, ran.out) == (1, "")
    assert "my file.yml:1:1: prot: unknown key" in ran.err
    assert "2 errors; nothing is shown." in ran.err
    assert "hestia config check --config 'my file.yml'" in ran.err


# -- schema, example, help ---------------------------------------------------------------------


def test_the_example_is_valid_by_the_loader_and_by_the_schema(hestia: Caller) -> None:
    example = hestia("config", "example").out
    write(example)
    assert hestia("config", "check").code == 0
    jsonschema.validate(yaml.safe_load(example), json.loads(hestia("config", "schema").out))


def test_config_alone_shows_its_commands(hestia: Caller) -> None:
    ran = hestia("config")
    assert (ran.code, ran.err) == (0, "")
    for word in ("check", "show", "schema", "example"):
        assert f"\n  {word} " in ran.out
    assert "\\x0a" not in ran.out


@pytest.mark.parametrize("arguments", [["chek"], ["check", "--confg", "x"], ["check", "x"]])
def test_wrong_usage_ends_with_2(hestia: Caller, arguments: list[str]) -> None:
    ran = hestia("config", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err


def test_the_program_itself_ends_with_the_code_and_reads_dotenv(tmp_path: Path) -> None:
    """As a process, in a folder of its own."""
    (tmp_path / ".env").write_text("CHAT_BASE_URL=localhost:1\n")
    done = subprocess.run(
        [*PROGRAM, "config", "check"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(".env:1: CHAT_BASE_URL=localhost:1: 'localhost:1' has no scheme")
