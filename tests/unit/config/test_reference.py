"""docs/configuration-reference.md is up to date and leaves nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts import make_config_reference

from hestia.config import later
from hestia.config.environment import PATH_VARIABLE, RESERVED, SERVICES_VARIABLE
from hestia.config.gateway import variable_of
from hestia.config.load import FILE_NAMES
from hestia.config.models import BackoffKeys, GatewayKeys, ServiceKeys, spellings
from hestia.config.values import UNITS
from tests.fakes.certificates import Authority
from tests.unit.config.loading import ENGINES, Loader

PAGE = make_config_reference.TARGET.read_text(encoding="utf-8")

FILES_OF_TLS = "/etc/letsencrypt/live/home.example/"


def section(title: str, level: str = "##") -> str:
    found = re.search(
        rf"^{level} {re.escape(title)}\n(.*?)(?=^#{{2,{len(level)}}} |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found, f"the page has no section {title!r}"
    return found[1]


def test_the_page_says_what_the_code_says() -> None:
    """When this fails: python scripts/make_config_reference.py"""
    assert make_config_reference.render() == PAGE


@pytest.mark.parametrize(
    ("title", "model"),
    [("Gateway keys", GatewayKeys), ("Service keys", ServiceKeys), ("restart_backoff", BackoffKeys)],
)
def test_every_key_has_meaning_type_default_example_and_since(
    title: str, model: type[GatewayKeys | ServiceKeys | BackoffKeys]
) -> None:
    part = section(title)
    headings = re.findall(r"^### (\w+)$", part, re.MULTILINE)
    assert headings == list(model.model_fields)
    for name, field in model.model_fields.items():
        text = part[part.index(f"### {name}\n") :].partition("\n### ")[0]
        assert field.description
        assert field.description in text
        for fact in ("- Type: ", "- Default: ", "- Since: 0."):
            assert fact in text, name
        assert f"```yaml\n{name}: " in text
    for written in spellings(model):
        assert written in part


@pytest.mark.parametrize("engine", ENGINES)
def test_every_option_of_an_engine_is_told(engine: str) -> None:
    text = section(f"Engine {engine}", "###")
    for name, field in ENGINES[engine].model_fields.items():
        assert f"| `{name}` |" in text
        assert field.description
        assert field.description in text
        assert f"`{name}: " in text, f"{name} has an example"


def test_every_rule_of_the_environment_is_told() -> None:
    text = section("Environment")
    told = [
        "<SERVICE>_<KEY>", "<SERVICE>_BASE_URL", "HESTIA_<KEY>", PATH_VARIABLE,
        f"`{SERVICES_VARIABLE}` | `off`",
        "STATE_DIRECTORY", "XDG_STATE_HOME", "HESTIA_URL", "HESTIA_API_KEY", "JSON", "empty variable",
        "own address", "reported and skipped", "share their variables", "<SERVICE>_PORT", "`.env`",
        *(f"`{one}…`" for one in RESERVED),
    ]  # fmt: skip
    for word in told:
        assert word in text, word
    for name in GatewayKeys.model_fields:
        assert f"`{variable_of(name)}`" in section("Gateway keys")
    for name in ServiceKeys.model_fields:
        assert f"`<SERVICE>_{name.upper()}`" in section("Service keys")


def test_durations_sizes_secrets_and_files_are_told() -> None:
    values = section("Values")
    for word in (*(f"5{unit}`" for unit in UNITS if unit == "m"), "never", "KiB", "GB", "1h30m", "3650d"):
        assert word in values, word
    for word in ("{env: NAME}", "{file: PATH}", "***"):
        assert word in section("Secrets")
    for name in FILE_NAMES:
        assert name in section("Sources")


def test_everything_that_is_not_available_yet_is_told() -> None:
    text = section("Not available yet")
    for name in (*later.SERVICE, *later.GATEWAY, *later.ENGINES, *later.ENVIRONMENT):
        assert f"| `{name}` |" in text, name


def test_every_yaml_example_of_the_page_is_valid(loader: Loader) -> None:
    """Each in its place: a key of the gateway, of a service, of its back-off, of its engine."""
    for title, indent, opening in (
        ("Gateway keys", "", ""),
        ("Service keys", "    ", "services:\n  chat:\n"),
        ("Several instances", "      ", "services:\n  chat:\n    instances:\n    -\n"),
        ("restart_backoff", "      ", "services:\n  chat:\n    base_url: http://a:1\n    restart_backoff:\n"),
        ("Request rules", "", ""),
        ("Engines", "    ", "services:\n  chat:\n    base_url: http://a:1\n"),
        ("Secrets", "    ", "services:\n  chat:\n"),
    ):
        for block in re.findall(r"^```yaml\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL):
            if title == "Several instances" and not block.startswith(("url", "engine")):
                block += "url: http://a:1\n"
            body = "".join(indent + line for line in block.splitlines(keepends=True))
            text = block if block.startswith("services:") else opening + body
            if block.startswith("keep_warm"):
                text += "    engine: {type: process, command: [chat]}\n"
            if title == "Service keys" and "base_url" not in block and "{port}" not in block:
                text += "    base_url: http://a:1\n"
            if block.startswith("routing"):
                text += "    strategy: load_balancer\n"
            if block.startswith("depends_on"):
                text += "  database: {base_url: 'http://a:2'}\n"
            for real, here in (("/run/secrets/api_token", "token.txt"), (FILES_OF_TLS, "tls/")):
                text = text.replace(real, here)
            loader(text, env={"MY_DB_PASSWORD": "x", "CHAT_TOKEN": "x"})


@pytest.fixture(autouse=True)
def token(loader: Loader) -> None:
    loader.write("x\n", "token.txt")
    Authority().write(loader.folder / "tls")


def test_a_stale_page_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_config_reference, "TARGET", tmp_path / "docs" / "page.md")
    assert make_config_reference.main(["--check"]) == 1
    assert make_config_reference.main([]) == 0
    assert make_config_reference.main(["--check"]) == 0
    assert make_config_reference.main(["--wrong"]) == 2
