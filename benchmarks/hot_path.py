"""The hot path without sockets: keep-alive requests through the real objects, on fake transports.

    python -m benchmarks.hot_path              microseconds and Python calls per exchange
    python -m benchmarks.hot_path --profile    the same, function by function
    python -m benchmarks.hot_path --traces URL with traces of every request for that collector

What the kernel and the event loop cost is left out, so the figures hardly move with the load of the machine
and a change of the code shows. Owns no goal: those stand in `benchmarks/run`.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import io
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import uvloop

from hestia.app import Hestia
from hestia.core.lifecycle import FoundRunning
from hestia.core.model import (
    Endpoint,
    GatewaySettings,
    InstanceId,
    InstanceSettings,
    ServiceId,
    ServiceSettings,
    Settings,
    Telemetry,
)
from hestia.edge.connection import ClientConnection
from hestia.http1.upstream import UpstreamConnection

BATCH = 512  # exchanges; enough to have the writing of their access lines among them
SERVICE = ServiceId("bench")
REQUEST = (
    b"GET /services/bench/small?x=1 HTTP/1.1\r\nHost: localhost:8080\r\n"
    b"User-Agent: wrk\r\nAccept: */*\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: up\r\nDate: Tue, 01 Dec 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 128\r\nConnection: keep-alive\r\n\r\n" + b"x" * 128
)


class FakeTransport:
    """Takes writes and forgets them."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: bytes) -> None:
        self.count += 1

    def is_reading(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int, low: int) -> None: ...

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 50000) if name == "peername" else None

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


class Path:
    """A composed gateway with one hot service, one client connection and one idle upstream connection."""

    def __init__(self, hestia: Hestia) -> None:
        edge, gateway = hestia._edge, hestia.gateway
        assert edge is not None
        endpoint = Endpoint("http", "127.0.0.1", 9)
        gateway.happened(FoundRunning(service=SERVICE, instance=InstanceId("main"), endpoint=endpoint))
        pool = gateway._performer._closed.__self__  # type: ignore[attr-defined]  # the pool whose `forget` was handed in
        use = gateway.world.slot(SERVICE, InstanceId("main")).use
        assert use is not None
        use.warm = True
        self.client: ClientConnection = edge._make()
        self.to_client, self.to_upstream = FakeTransport(), FakeTransport()
        self.client.connection_made(self.to_client)  # type: ignore[arg-type]  # the part of a transport in use
        self.upstream = UpstreamConnection(pool, "here")
        self.upstream.shelf = pool.shelf(use.key)
        self.upstream.connection_made(self.to_upstream)  # type: ignore[arg-type]
        self.upstream.idle_since = asyncio.get_running_loop().time()
        self.upstream.usable_until = self.upstream.made_at = float("inf")
        self.upstream.shelf.idle.append(self.upstream)

    def exchange(self) -> None:
        """One request and its answer."""
        self.upstream.uses = 0
        self.upstream.usable_until = float("inf")
        self.client.data_received(REQUEST)
        self.upstream.data_received(ANSWER)


def many(path: Path, count: int) -> float:
    """Seconds of processor time for `count` exchanges."""
    began = time.process_time()
    for _ in range(count):
        path.exchange()
    took = time.process_time() - began
    assert path.to_client.count == path.to_upstream.count
    return took


def calls(run: Callable[[], None], repeat: int) -> float:
    """Python calls in one run, on average."""
    counted = 0

    def seen(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event == "call"

    sys.setprofile(seen)
    for _ in range(repeat):
        run()
    sys.setprofile(None)
    return counted / repeat


async def measure(options: argparse.Namespace) -> None:
    """Compose, warm up, measure the best of a few rounds."""
    instance = InstanceSettings(id=InstanceId("main"), base_url="http://127.0.0.1:9")
    service = ServiceSettings(id=SERVICE, instances=(instance,))
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            gateway=GatewaySettings(
                port=0,
                state_dir=folder,
                log_format="json",
                telemetry=Telemetry(otlp_endpoint=options.traces) if options.traces else None,
            ),
            services={SERVICE: service},
        )
        hestia = Hestia(settings, access_log=io.BytesIO())
        await hestia.start()
        path = Path(hestia)
        many(path, 2000)
        gc.collect()
        gc.freeze()
        if options.profile:
            profile = cProfile.Profile()
            profile.enable()
            many(path, 10_000)
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(85)
        # many short batches: the best ones fell between what else the machine had to do
        best = min(many(path, BATCH) for _ in range(options.rounds)) / BATCH
        print(f"{best * 1e6:.1f} us and {calls(path.exchange, 100):.0f} Python calls per exchange")
        await hestia.aclose(drain=0.0)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description="The hot path without sockets.")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    parser.add_argument("--traces", metavar="URL", help="send traces there")
    parser.add_argument("--rounds", type=int, default=400)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
