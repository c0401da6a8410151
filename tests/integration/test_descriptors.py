"""Open files (LI-14): raised at start, counted, refused before none is left, and survived where none is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.errors import HestiaError
from hestia.core.model import Tls
from hestia.edge.connection import ClientConnection
from hestia.edge.server import Door, EdgeServer
from hestia.http1.heads import Request
from hestia.runtime.tasks import Tasks
from tests.fakes.certificates import Authority
from tests.fakes.client import Client
from tests.fakes.facts import PATIENCE, eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import answer, request

from .conftest import MakeClient
from .test_pipelines import Answering

S = "/services/a"
FILES = 128  # that the small gateway may have open: 51 clients, no new upstream connection from 102 files on
HELD = 44  # requests to be under way: with what the gateway itself has open they make it full

_SMALL = textwrap.dedent("""
    import asyncio, resource, sys
    files, folder, url, *tls = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), int(files)))
    import uvloop
    from hestia.app import Hestia
    from hestia.core.model import GatewaySettings, ServiceId, Settings, Tls
    from tests.integration.harness import service

    async def main():
        settings = GatewaySettings(
            port=0,
            tls=Tls(certificate=tls[0], key=tls[1]) if tls else None,
            access_log=False,
            state_dir=folder,
        )
        hestia = Hestia(Settings(gateway=settings, services={ServiceId("a"): service("a", url)}))
        await hestia.start()
        print("ready", hestia.address[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await hestia.aclose(drain=0.0, everything=True)

    uvloop.run(main())
""")


class Small:
    """A gateway in a process of its own that may have FILES files open."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.address = ("127.0.0.1", port)


@contextlib.asynccontextmanager
async def _small(folder: Path, url: str, tls: Tls | None = None) -> AsyncIterator[Small]:
    """It is ended in order and has to end well."""
    more = [tls.certificate, tls.key] if tls is not None else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SMALL, str(FILES), str(folder), url, *more),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(3 * PATIENCE):
            word, port = (await process.stdout.readline()).split()
            assert word == b"ready"
            yield Small(process, int(port))
            process.stdin.close()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _healthy(small: Small, authority: Authority | None) -> bool:
    """Whether a new client is served."""
    tls = authority.trusting() if authority is not None else None
    try:
        client = await Client.connect(small.address, tls=tls)
    except OSError:
        return False
    try:
        await client.send(request("GET", "/healthz"))
        await client.until(
            lambda: bool(client.ended) or b"\r\n\r\n" in client.received, "an answer or an end"
        )
        return client.received.startswith(b"HTTP/1.1 200")
    finally:
        await client.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_t_li_14_more_clients_at_once_than_files_are_survived(tmp_path: Path, secure: bool) -> None:
    """All of them wait in the backlog when it looks: accepting them fails for want of files, then goes on."""
    authority = Authority() if secure else None
    tls = authority.write(tmp_path / "tls") if authority is not None else None
    async with _small(tmp_path / "state", "http://127.0.0.1:9", tls) as small:
        assert await _healthy(small, authority)
        small.process.send_signal(signal.SIGSTOP)
        crowd = [socket.create_connection(small.address) for _ in range(3 * FILES)]
        small.process.send_signal(signal.SIGCONT)
        crowd[-1].settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            assert crowd[-1].recv(100)[9:12] in (b"", b"503"), "the last one is answered or closed"
        for one in crowd:
            one.close()
        while not await _healthy(small, authority):
            await asyncio.sleep(0.05)


async def test_t_li_14_no_new_connection_to_a_service_where_files_are_short(
    tmp_path: Path, upstream: HttpUpstream, connect: MakeClient
) -> None:
    async with _small(tmp_path / "state", upstream.url) as small:
        prober = await connect(small.address)
        assert (await prober.ask("GET", S + "/echo")).status == 200
        held = [await connect(small.address) for _ in range(HELD)]
        for client in held:
            await client.send(request("GET", S + "/slow"))
        await eventually(
            lambda: len(upstream.requests) - 1 + len([one for one in held if one.received]) >= HELD,
            "each request to be under way or refused",
        )
        refused = await prober.ask("GET", S + "/echo")
        assert refused.status == 503
        assert refused.problem("upstream_busy")["retry_after_ms"] == 1000
        assert (await prober.ask("GET", "/healthz")).status == 200, "the gateway itself still answers"
        upstream.release()
        for client in held:
            assert (await client.response()).status in (200, 503)
            await client.close()
        while (await prober.ask("GET", S + "/echo")).status != 200:
            await asyncio.sleep(0.05)


async def test_li_14_serve_raises_the_limit(tmp_path: Path) -> None:
    command = f"ulimit -Sn 256; exec {sys.executable} -m hestia.cli serve --port 0 --log-format json"
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", command),
        cwd=tmp_path,
        env={**os.environ, "HESTIA_STATE_DIR": str(tmp_path / "state")},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(3 * PATIENCE):
            while b"gateway_started" not in await process.stderr.readline():
                pass
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        soft, hard = next(line for line in limits.splitlines() if "open files" in line).split()[3:5]
        assert soft == hard
    finally:
        process.terminate()
        await process.communicate()


async def test_fw_07_an_ipv4_client_of_a_listener_for_both_is_an_ipv4_client(leaks: None) -> None:
    seen: list[str] = []

    def handle(_: Request, client: ClientConnection) -> Answering:
        seen.append(client.peer)
        return Answering(client, answer(b"here"))

    def refuse(error: HestiaError, _: ClientConnection) -> bytes:
        raise error

    server = EdgeServer(
        [Door(host="::", handler=handle)],
        refuse=refuse,
        clock=asyncio.get_running_loop().time,
        spawn=Tasks().spawn,
    )
    try:
        try:
            await server.start()
        except OSError as exc:
            pytest.skip(f"no IPv6 here: {exc}")
        port = server.addresses()[0][1]
        for host in ("127.0.0.1", "::1"):
            client = await Client.connect((host, port))
            assert (await client.ask()).status == 200
            await client.close()
        assert seen == ["127.0.0.1", "::1"]
    finally:
        await server.aclose()
