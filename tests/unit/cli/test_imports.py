"""The client starts at once: it imports neither the gateway nor what the gateway needs (CL-25)."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORBIDDEN = (
    "asyncio", "fastapi", "httptools", "pydantic", "psutil", "rich", "ruamel", "starlette", "uvicorn",
    "uvloop", "hestia.api.application", "hestia.app", "hestia.config", "hestia.edge",
    "hestia.engines", "hestia.http1", "hestia.proxy", "hestia.running", "hestia.runtime", "hestia.store",
    "hestia.telemetry",
)  # fmt: skip

SCRIPT = """
import sys
from hestia.cli.entry import run
code = run(sys.argv[1:])
sys.stdout.flush()
print("\\n" + " ".join(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        [],
        ["help", "start"],
        ["help", "errors", "queue_timeout"],
        ["help", "exit-codes"],
        ["status", "--url", "http://127.0.0.1:1"],
        ["start", "x", "--url", "http://127.0.0.1:1"],
        ["logs", "x", "--url", "http://127.0.0.1:1"],
        ["explain", "x", "--url", "http://127.0.0.1:1"],
        ["events", "--url", "http://127.0.0.1:1"],
        ["completion", "bash"],
        ["config", "example"],
        ["stauts"],
    ],
    ids=lambda words: " ".join(words) or "alone",
)
def test_cl25_client_commands_import_nothing_of_the_gateway(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & set(FORBIDDEN)


def test_cl25_the_version_does_not_even_need_click() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "click" not in done.stderr.split()
    assert done.stdout.startswith("hestia ")
