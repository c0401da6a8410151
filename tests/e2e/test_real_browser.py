"""A real browser on real apps at their own host names: its navigation wakes each, then the app does its work.

Debian's Chromium, driven by browser/visit.py. The waiting page is shown until the app is ready.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.called import run
from tests.e2e.conftest import need_module, tool
from tests.e2e.served import Served, serving
from tests.fakes.programs import small_command

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
TOKEN = "not-a-secret"
Seen = dict[str, Any]  # the JSON document of visit.py


def service(health: str, folder: Path, *command: str, base: str = "", **env: str) -> dict[str, Any]:
    """Configuration with one process service. health: its readiness probe. base: path in front of all."""
    engine = {"type": "process", "command": list(command), "env": {"HOME": str(folder), **env}}
    engine["cwd"] = str(folder)
    base_url = "http://127.0.0.1:{port}" + base
    app = {"engine": engine, "base_url": base_url, "health_url": base_url + health}
    return {"services": {"app": {**app, "start_timeout": "90s", "request_timeout": "100s"}}}


async def visit(
    served: Served, python: str, app: str, path: str = "/", *, host: str = "app.localhost"
) -> Seen:
    """Let the browser do its work at http://HOST:PORT/PATH; it finds the service cold."""
    tool("chromium")
    assert (await served.status("app"))["phase"] == "cold"
    pictures = Path(os.environ.get("HESTIA_E2E_PICTURES") or served.folder)
    url = f"http://{host}:{served.port}{path}"
    seen: Seen = json.loads(await run(python, HERE / "browser" / "visit.py", app, url, pictures, timeout=280))
    return seen


def was_woken_by(served: Served, path: str) -> None:
    """One start, caused by the navigation."""
    assert served.transitions("app") == ["starting", "hot"]
    cause = served.lines("service_hot", "app")[0]["request_id"]
    asked = {line["request_id"]: line for line in served.lines("request", "app")}
    assert asked[cause]["path"] == path, asked[cause]


def no_refusals(served: Served) -> None:
    """Nothing that the page asked for was refused or broken off by anybody but the browser."""
    members = ("method", "path", "status", "code", "aborted", "queue_ms", "total_ms", "attempts", "reused")
    failed = [
        {name: line[name] for name in members}
        for line in served.lines("request", "app")
        if line["code"] not in ("", "waiting_page") and line["aborted"] != "client"
    ]
    assert not failed, failed


@pytest.mark.jupyter
async def test_a_jupyterlab_notebook_runs_a_cell(tmp_path: Path, real_python: str) -> None:
    for module in ("jupyterlab", "playwright"):
        need_module(real_python, module)
    words = [real_python, "-m", "jupyterlab", "--no-browser", "--ip", "127.0.0.1", "--port", "{port}"]
    words += ["--ServerApp.local_hostnames=app.localhost", f"--IdentityProvider.token={TOKEN}"]
    words += ["--allow-root"]  # CI is root
    more = {"JUPYTER_PREFER_ENV_PATH": "1", "SAID": "by the kernel"}
    async with serving(tmp_path / "gateway", service("/api", tmp_path, *words, **more)) as served:
        seen = await visit(served, real_python, "jupyter", f"/lab?token={TOKEN}")
        assert seen["shown"].strip() == "42 by the kernel", seen
        assert any("/channels" in url for url in seen["sockets"]), seen
        assert not [text for text in seen["errors"] if "WebSocket" in text], seen
        was_woken_by(served, "/lab")
        no_refusals(served)


@pytest.mark.gradio
async def test_a_gradio_function_is_called_and_streams(tmp_path: Path, real_python: str) -> None:
    for module in ("gradio", "playwright"):
        need_module(real_python, module)
    words = [real_python, str(HERE / "programs" / "gradio_app.py"), "{port}"]
    more = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    async with serving(tmp_path / "gateway", service("/", tmp_path, *words, **more)) as served:
        seen = await visit(served, real_python, "gradio")
        assert seen["shown"] == "Hello Hestia of 6 letters!", seen
        was_woken_by(served, "/")
        no_refusals(served)


@pytest.mark.gradio
async def test_a_streamlit_slider_is_moved(tmp_path: Path, real_python: str) -> None:
    for module in ("streamlit", "playwright"):
        need_module(real_python, module)
    words = [real_python, "-m", "streamlit", "run", str(HERE / "programs" / "streamlit_app.py")]
    words += ["--server.port", "{port}", "--server.address", "127.0.0.1", "--server.headless", "true"]
    async with serving(tmp_path / "gateway", service("/_stcore/health", tmp_path, *words)) as served:
        seen = await visit(served, real_python, "streamlit")
        assert seen["shown"] == "square is 16", seen
        assert any("/_stcore/stream" in url for url in seen["sockets"]), seen
        was_woken_by(served, "/")
        no_refusals(served)


async def test_a_service_that_cannot_start_tells_the_person_why(tmp_path: Path, real_python: str) -> None:
    need_module(real_python, "playwright")
    words = small_command("--say", "no such model: tiny", "--fail", "3")
    async with serving(tmp_path / "gateway", service("/health", tmp_path, *words)) as served:
        seen = await visit(served, real_python, "failure")
        assert seen["shown"].startswith("503 "), seen
        assert re.search("no such model: tiny", seen["shown"]), seen
        assert "hestia logs app" in seen["shown"], seen
