"""Long tests under load, for `./scripts/dev.sh test load`. Their real servers are those of tests/e2e.

What a test measured without judging it is shown at the end of the run; docs/load.md keeps such figures.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import real_python
from tests.e2e.served import Served, serving
from tests.fakes.facts import PATIENCE
from tests.load.service import Service

__all__ = ["real_python"]

Tell = Callable[[str], None]
_told: list[str] = []


def pytest_configure() -> None:
    """Two thousand clients and their upstreams are four thousand sockets in this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _told:
        terminalreporter.section("measured")
        for line in _told:
            terminalreporter.write_line(line)


async def at_rest(served: Served) -> None:
    """Wait until no request is in flight and none waits."""
    seen = await served.status("a")
    try:
        async with asyncio.timeout(PATIENCE):
            while (seen["inFlight"], seen["queuePending"]) != (0, 0):
                await asyncio.sleep(0.1)
                seen = await served.status("a")
    except TimeoutError:
        raise AssertionError(f"waited in vain for the gateway to rest; it is {seen}") from None


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Keeps a figure for the end of the run."""
    return lambda text: _told.append(f"{request.node.name}: {text}")


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """The service behind the gateway."""
    async with Service() as one:
        yield one


@pytest.fixture
async def served(tmp_path: Path, service: Service) -> AsyncIterator[Served]:
    """A gateway in a process of its own in front of the service, which is called `a`."""
    settings = {"base_url": f"http://127.0.0.1:{service.port}", "warmup": "0s"}
    async with serving(tmp_path / "gateway", {"services": {"a": settings}}) as one:
        yield one
        await at_rest(one)
