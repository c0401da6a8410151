"""JupyterLab at its own host name: page, static files, a kernel over its WebSocket, idle with one open."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from tests.e2e.conftest import need_module
from tests.e2e.served import Served, serving
from tests.fakes.facts import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.jupyter, pytest.mark.slow]

HOST = "jupyter.localhost"
TOKEN = "not-a-secret"


def jupyter(python: str, folder: Path, idle_timeout: str) -> Mapping[str, Any]:
    """Configuration with JupyterLab as a process service, as `hestia config example` writes it."""
    command = [python, "-m", "jupyterlab", "--no-browser", "--ip", "127.0.0.1", "--port", "{port}"]
    command += [f"--ServerApp.local_hostnames={HOST}", f"--IdentityProvider.token={TOKEN}"]
    service = {
        "engine": {
            "type": "process",
            "command": [*command, "--allow-root"],  # CI is root
            "cwd": str(folder),
            "env": {"HOME": str(folder), "JUPYTER_PREFER_ENV_PATH": "1"},
        },
        "health_url": "http://127.0.0.1:{port}/api",
        "idle_timeout": idle_timeout,
        "start_timeout": "60s",
    }
    return {"services": {"jupyter": service}}


class Browser:
    """Asks as a browser at http://jupyter.localhost:PORT/ does; cookies are kept."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.host = f"{HOST}:{served.port}"

    async def post(self, path: str, document: object) -> Any:  # JSON of Jupyter's own API
        fields = {"Host": self.host, "Authorization": f"token {TOKEN}"}
        answer = await self.served.http.post(self.served.url + path, json=document, headers=fields)
        assert answer.is_success, (path, answer.status_code, answer.text[:500])
        return answer.json()

    def socket(self, path: str) -> AbstractAsyncContextManager[ClientConnection]:
        """A WebSocket; the name is not looked up, the gateway's address is used."""
        return connect(
            f"ws://{self.host}{path}",
            host="127.0.0.1",
            port=self.served.port,
            origin=Origin(f"http://{self.host}"),
            additional_headers={"Authorization": f"token {TOKEN}"},
            open_timeout=60,
            proxy=None,
        )


async def run_cell(socket: ClientConnection, code: str) -> str:
    """Run one cell on a kernel's socket; its result as text."""
    own = uuid.uuid4().hex
    message = {
        "channel": "shell",
        "header": {
            "msg_id": own,
            "msg_type": "execute_request",
            "session": "s",
            "username": "",
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False},
    }
    await socket.send(json.dumps(message))
    async with asyncio.timeout(60):
        async for text in socket:
            told = json.loads(text)
            if told["parent_header"].get("msg_id") == own and told["msg_type"] == "execute_result":
                return str(told["content"]["data"]["text/plain"])
    raise AssertionError("the socket was closed before the result")


async def test_page_static_files_and_a_cell_over_the_websocket(tmp_path: Path, real_python: str) -> None:
    """The host route leaves root paths, cookies, Authorization and the kernel's socket as they are."""
    need_module(real_python, "jupyterlab")
    async with serving(tmp_path / "gateway", jupyter(real_python, tmp_path, "1h")) as served:
        browser = Browser(served)
        page = (await served.get(f"/lab?token={TOKEN}", host=HOST)).text
        assert "JupyterLab" in page
        again = (await served.get("/lab", host=HOST)).text  # by the first answer's cookie
        scripts = re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css|ico)[^"]*)"', again)
        assert any(".js" in path for path in scripts), again[:2000]
        for path in scripts:
            assert len((await served.get(path, host=HOST)).content) > 100
        kernel = await browser.post("/api/kernels", {"name": "python3"})
        async with browser.socket(f"/api/kernels/{kernel['id']}/channels") as socket:
            assert await run_cell(socket, "sum(range(10))") == "45"
            assert await run_cell(socket, "'x' * 200_000") == repr("x" * 200_000)
            assert (await served.status("jupyter"))["inFlight"] == 1
        assert len(served.programs()) >= 2, "server and kernel"


async def test_a_silent_websocket_does_not_keep_it_up_and_the_next_request_starts_it_again(
    tmp_path: Path, real_python: str
) -> None:
    """ID-03 with a real server: the socket itself wakes it, says nothing, and is closed with 1012."""
    need_module(real_python, "jupyterlab")
    async with serving(tmp_path / "gateway", jupyter(real_python, tmp_path, "2s")) as served:
        browser = Browser(served)
        async with browser.socket("/api/events/subscribe") as socket:
            assert (await served.status("jupyter"))["phase"] == "hot"
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        await served.until_phase("cold", "jupyter")
        assert served.programs() == set()
        assert served.transitions("jupyter") == ["starting", "hot", "draining", "stopping", "cold"]
        assert "version" in (await served.get("/api", host=HOST)).json()
        assert (await served.status("jupyter"))["instances"][0]["generation"] == 2
