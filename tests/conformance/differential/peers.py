"""The proxies that Hestia is compared with, each started in front of one recording upstream."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.fakes.facts import PATIENCE

HERE = Path(__file__).parent

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; proxy_request_buffering off;
      proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr;
    }}
  }}
}}
"""
HAPROXY = """
global
  maxconn 256
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 2s
frontend front
  bind 127.0.0.1:{port}
  option forwardfor
  default_backend back
backend back
  server one 127.0.0.1:{upstream}
"""


def _nginx(folder: Path, port: int, upstream: int) -> list[str]:
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
    return ["nginx", "-p", str(folder), "-e", "/dev/null", "-c", str(folder / "nginx.conf")]


def _haproxy(folder: Path, port: int, upstream: int) -> list[str]:
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, upstream=upstream))
    return ["haproxy", "-db", "-q", "-f", str(folder / "haproxy.cfg")]


def _go(folder: Path, port: int, upstream: int) -> list[str]:
    return [str(folder / "reverse_proxy"), f"127.0.0.1:{port}", f"http://127.0.0.1:{upstream}"]


PEERS: dict[str, Callable[[Path, int, int], list[str]]] = {"nginx": _nginx, "haproxy": _haproxy, "go": _go}


def missing(name: str) -> str:
    """Why this proxy cannot be run here, "" when it can."""
    return "" if shutil.which(name) else f"{name} is not installed"


@contextlib.asynccontextmanager
async def running(name: str, folder: Path, upstream: int) -> AsyncIterator[tuple[str, int]]:
    """Start a proxy in front of the upstream's port; its address. It is ended afterwards."""
    if name == "go":
        build = ["go", "build", "-o", str(folder / "reverse_proxy"), str(HERE / "reverse_proxy.go")]
        made = await asyncio.create_subprocess_exec(*build)
        assert await made.wait() == 0, "go build"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *PEERS[name](folder, port, upstream), stdout=quiet, stderr=quiet
    )
    try:
        await _listens(port, process)
        yield "127.0.0.1", port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            assert process.returncode is None, f"it ended with {process.returncode}"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            await writer.wait_closed()
            return
