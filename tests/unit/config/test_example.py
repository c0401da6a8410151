"""The shipped example, and the configurations that the project was asked for with, as they were printed."""

from __future__ import annotations

import re
from importlib.resources import files

import jsonschema
import pytest
import yaml

from hestia.config import json_schema
from hestia.core.model import NEVER, ServiceId
from tests.unit.config.loading import ENGINES, Loader

EXAMPLE = files("hestia.cli").joinpath("example_config.yml").read_text(encoding="utf-8")
PART = re.compile(r"^# (?:semaphore_\w+|machines):.*\n(?:#   .*\n)*", re.MULTILINE)
TOP = re.sub("^# ", "", "".join(PART.findall(EXAMPLE)), flags=re.MULTILINE)  # what services build on
BLOCK = re.compile(r"^  # ([a-z0-9-]+):\n((?:  #   .*\n)+)", re.MULTILINE)
BLOCKS = {match[1]: re.sub("^  # ", "  ", match[0], flags=re.MULTILINE) for match in BLOCK.finditer(EXAMPLE)}


def test_the_example_is_valid_as_it_stands(loader: Loader) -> None:
    settings = loader(EXAMPLE)
    assert list(settings.services) == ["ollama"]
    assert settings.warnings == ()


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_of_the_example_is_valid_without_its_comment_marks(loader: Loader, name: str) -> None:
    text = TOP + EXAMPLE + BLOCKS[name]
    settings = loader(text, env={"SEMAPHORE_API_KEY": "abc"})
    assert list(settings.services) == ["ollama", name]
    assert settings.warnings == ()
    jsonschema.validate(yaml.safe_load(text), json_schema(ENGINES))


def test_all_blocks_are_valid_together(loader: Loader) -> None:
    text = TOP + EXAMPLE + "".join(BLOCKS.values())
    settings = loader(text, env={"SEMAPHORE_API_KEY": "abc"})
    assert len(settings.services) == len(BLOCKS) + 1
    assert set(settings.machines) >= {"this-machine", "gpu-server-01"}
    assert settings.gateway.semaphore_project == "hestia"
    jsonschema.validate(yaml.safe_load(text), json_schema(ENGINES))


def test_the_example_has_what_was_promised() -> None:
    """SPEC 2.4 names them."""
    wanted = {"sdxl", "big-llm", "llm", "api"} | {
        "open-webui",
        "comfyui",
        "stable-diffusion",
        "jupyter",
        "code-server",
        "cloud-ml",
    }
    assert wanted <= set(BLOCKS)
    assert max(len(line) for line in EXAMPLE.splitlines()) <= 120


# -- the examples of the seeds -----------------------------------------------------------------


def test_seed_local_service(loader: Loader) -> None:
    settings = loader(
        "services:\n"
        "  ollama:\n"
        '    base_url: "http://localhost:11434"\n'
        '    health_url: "http://localhost:11434/api/tags"\n'
        "    idle_timeout_ms: 300000  # 5 minutes\n"
    )
    ollama = settings.services[ServiceId("ollama")]
    assert ollama.idle_timeout == 300
    assert ollama.instances[0].health_url == "http://localhost:11434/api/tags"


def test_seed_remote_service_by_environment(loader: Loader) -> None:
    settings = loader(
        env={
            "REMOTE_API_BASE_URL": "http://api.remote.com:8080",
            "REMOTE_API_RETRY_COUNT": "3",
            "REMOTE_API_IDLE_TIMEOUT_MS": "600000",
        }
    )
    remote = settings.services[ServiceId("remote-api")]
    assert (remote.retry_count, remote.idle_timeout) == (3, 600)
    assert remote.instances[0].base_url == "http://api.remote.com:8080"
    assert ServiceId("ollama") in settings.services


def test_seed_remote_service_by_dotenv(loader: Loader) -> None:
    """In a container `.env` is how the seeds' `export …` reaches Hestia."""
    settings = loader(
        dotenv='export REMOTE_API_BASE_URL="http://api.remote.com:8080"\n'
        "export REMOTE_API_RETRY_COUNT=3\n"
        "export REMOTE_API_IDLE_TIMEOUT_MS=600000  # 10 minutes\n"
    )
    assert settings.services[ServiceId("remote-api")].idle_timeout == 600


HIGH_AVAILABILITY = (
    "services:\n"
    "  critical-api:\n"
    '    base_url: "http://primary.local:8080"\n'
    '    health_url: "http://primary.local:8080/health"\n'
    "    retry_count: 3\n"
    '    fallback_url: "http://backup.local:8080"  # Automatic failover\n'
    "    idle_timeout_ms: 0  # Never shutdown critical services\n"
)


def test_seed_high_availability(loader: Loader) -> None:
    critical = loader(HIGH_AVAILABILITY).services[ServiceId("critical-api")]
    assert (critical.retry_count, critical.idle_timeout) == (3, NEVER)
    assert critical.fallback_url == "http://backup.local:8080"


def test_seed_clients_base_url_in_the_same_shell(loader: Loader) -> None:
    settings = loader(env={"OLLAMA_BASE_URL": "http://localhost:8080/services/ollama"})
    assert settings.services[ServiceId("ollama")].instances[0].base_url == "http://localhost:11434"


def test_seed_services_without_a_base_url_are_reported_and_skipped(loader: Loader) -> None:
    settings = loader(
        env={
            "COMFYUI_SEMAPHORE_ENABLED": "true",
            "COMFYUI_SEMAPHORE_MACHINE_ID": "gpu-server-01",
            "COMFYUI_IDLE_TIMEOUT_MS": "900000",
        }
    )
    assert list(settings.services) == ["ollama"]
    missing, unset = settings.warnings
    assert "there is no program 'ollama'" in missing
    assert "set COMFYUI_BASE_URL to define it" in unset
