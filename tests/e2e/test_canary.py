"""A secret of the configuration is nowhere in what Hestia tells (lifecycle OB-20): everything is searched."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cli import PROGRAM, environment
from tests.e2e.served import Served, serving
from tests.e2e.test_serve import small
from tests.fakes.programs import small_command

pytestmark = pytest.mark.e2e

CANARY = "c4n4ry-7f3a91"
SECRET = {"env": "CANARY"}
SHOWN = ("/v1/events", "/v1/requests", "/v1/config", "/v1/services", "/v1/metrics", "/metrics", "/healthz")


async def said(served: Served, *arguments: str) -> str:
    """Both streams of a command, whatever it ended with."""
    done = await asyncio.to_thread(
        subprocess.run, [*PROGRAM, *arguments, "--url", served.url], cwd=served.folder,
        env=environment(CANARY=CANARY), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return str(done.stdout + done.stderr)


async def test_ob_20_a_secret_appears_in_nothing_that_a_run_tells(tmp_path: Path) -> None:
    """In the environment of a program, on its command line, in a header: services that work and that fail."""
    settings = small(headers={"request": {"set": {"Authorization": SECRET}}})
    services = dict(settings["services"])
    engine = {"type": "process", "command": [*small_command(), SECRET], "env": {"TOKEN": SECRET}}
    services["a"] = {**services["a"], "engine": engine}
    fails = [sys.executable, "-c", "import sys; sys.exit(3 if '{port}' else 4)", SECRET]
    services["b"] = {"base_url": "http://127.0.0.1:{port}", "engine": {"type": "process", "command": fails}}
    missing = ["no-such-program", "{port}", SECRET]
    services["c"] = {"base_url": "http://127.0.0.1:{port}", "engine": {"type": "process", "command": missing}}
    found: dict[str, str] = {}
    folder = tmp_path / "a"
    async with serving(folder, {"services": services}, CANARY=CANARY) as served:
        for name in "abc":
            answer = await served.http.get(f"{served.url}/services/{name}/?token={CANARY}")
            request_id = answer.headers["x-request-id"]
            if name != "a":  # a answers itself, and tells what it was asked
                found[f"answer of {name}"] = answer.text
            found[f"story of {name}"] = (await served.http.get(f"{served.url}/v1/requests/{request_id}")).text
            found[f"explain {name}"] = await said(served, "explain", name)
            found[f"explain request of {name}"] = await said(served, "explain", request_id)
        for path in SHOWN:
            found[path] = (await served.http.get(served.url + path)).text
        for command in ("status", "events", "doctor"):
            found[command] = await said(served, command, "--json")
        found["config show"] = await said(served, "config", "show")
    found["log"] = served.said
    for file in (folder / ".hestia").rglob("*"):
        if file.is_file() and "log" not in file.suffix:
            found[str(file.relative_to(folder))] = file.read_bytes().decode("latin-1")
    assert json.loads(found["/v1/requests"])["requests"], "the run told something"
    told = {where: text[max(0, at - 200) : at + 60] for where, text in found.items()
            if (at := text.find(CANARY)) >= 0}  # fmt: skip
    assert told == {}
