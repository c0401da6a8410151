"""A real llama.cpp server woken by the unmodified openai client, streamed, put back to sleep, twice round.

What came "while it was being made" is shown without a clock: the server is frozen with SIGSTOP in the
middle of its work, and the client has some chunks but not all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import need_module, tiny_llm
from tests.e2e.served import Served, serving
from tests.fakes.facts import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.llm, pytest.mark.slow]

CLIENT = Path(__file__).parent / "programs" / "openai_client.py"
TOKENS = 180  # a slot of the tiny model holds 256, the chat template's own words included
TRIES = 10


@pytest.fixture
async def llm(tmp_path: Path, real_python: str, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """A gateway in front of a cold llama.cpp server. Its idle_timeout is the parameter, else long."""
    for module in ("openai", "xllamacpp", "gguf"):
        need_module(real_python, module)
    command = [real_python, str(tiny_llm()), "--port", "{port}", "--model", str(tmp_path / "tiny.gguf")]
    service = {
        "engine": {"type": "process", "command": [*command, "--start-delay", "1"]},
        "health_url": "http://127.0.0.1:{port}/health",
        "idle_timeout": getattr(request, "param", "1h"),
    }
    async with serving(tmp_path / "gateway", {"services": {"llm": service}}) as served:
        yield served


class Asking:
    """One run of the openai client. chunks: what it has told so far, its `end` line included."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.chunks: list[dict[str, Any]] = []  # lines of openai_client.py, hence Any
        self.ended = False

    @property
    def partial(self) -> int:
        """How many chunks it has while the answer is not complete; 0 before the first and after the last."""
        return 0 if self.chunks and "end" in self.chunks[-1] else len(self.chunks)

    async def read(self) -> None:
        """Take in lines until the client ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.chunks.append(json.loads(line))
        self.ended = True


@contextlib.asynccontextmanager
async def asking(python: str, served: Served) -> AsyncIterator[Asking]:
    """The openai client asks through the gateway; it is gone when the block ends."""
    process = await asyncio.create_subprocess_exec(
        python, str(CLIENT), f"{served.url}/services/llm/v1", str(TOKENS), stdout=asyncio.subprocess.PIPE
    )
    one = Asking(process)
    async with asyncio.TaskGroup() as group:
        group.create_task(one.read())
        try:
            yield one
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class Frozen:
    """The server's process, let run in short slices: `hold` stops it, `slice` lets it do a little."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    async def hold(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        await eventually(lambda: self._state() in "Tt", f"process {self.pid} to be frozen")

    async def slice(self) -> None:
        """A few milliseconds of work: the stimulus, not a wait for something."""
        self.go()
        await asyncio.sleep(0.003)
        await self.hold()

    def go(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]


async def server_of(served: Served) -> Frozen:
    """The one process of the hot service."""
    await served.until_phase("hot", "llm")
    (pid,) = served.programs()
    return Frozen(pid)


async def partly(frozen: Frozen, one: Asking) -> list[int]:
    """Let the server work in slices until the client has all; its partial counts while frozen, distinct."""
    seen = [0]
    while not one.ended:
        await frozen.slice()
        if one.partial > seen[-1]:
            seen.append(one.partial)
    return seen[1:]


async def ask_fully(python: str, served: Served) -> None:
    async with asking(python, served) as one:
        await eventually(lambda: one.ended, "the answer to end", timeout=60)
    assert one.chunks[-1] == {"end": "length"}
    assert len(one.chunks) > TOKENS / 2


def output(served: Served) -> str:
    """What the servers of all generations wrote."""
    files = sorted((served.folder / "state" / "output" / "llm" / "main").glob("*.log"))
    return "".join(path.read_text(errors="replace") for path in files)


@pytest.mark.parametrize("llm", ["2s"], indirect=True)
async def test_cold_hot_idle_cold_twice_with_the_openai_client(llm: Served, real_python: str) -> None:
    """The request that finds it cold is held and answered; after idle_timeout nothing is left of it."""
    assert (await llm.status("llm"))["phase"] == "cold"
    assert llm.programs() == set()
    for generation in (1, 2):
        async with asking(real_python, llm) as one:
            await llm.until_phase("starting", "llm")
            await llm.until_phase("hot", "llm")
            running = llm.programs()
            assert running
            await eventually(lambda one=one: one.ended, "the held request to be answered", timeout=60)  # type: ignore[misc]
        assert one.chunks[-1] == {"end": "length"}
        await llm.until_phase("cold", "llm")
        assert llm.programs() == set()
        assert not any(Path(f"/proc/{pid}").exists() for pid in running)
        assert llm.transitions("llm") == ["starting", "hot", "stopping", "cold"] * generation
    asked = llm.lines("request", "llm")
    assert [line["status"] for line in asked] == [200, 200]
    assert llm.lines("service_stop", "llm")[-1]["cause"] == "idle"
    assert llm.lines("service_hot", "llm")[0]["request_id"] == asked[0]["request_id"]


async def test_chunks_arrive_while_the_server_still_makes_others(llm: Served, real_python: str) -> None:
    """Between slices of the server's work the client's count grows: nothing is collected on the way."""
    await ask_fully(real_python, llm)
    frozen = await server_of(llm)
    best: list[int] = []
    for _ in range(TRIES):  # a slice may be long enough for a whole answer when the machine is busy
        async with asking(real_python, llm) as one:
            best = max(best, await partly(frozen, one), key=len)
        frozen.go()
        if len(best) >= 3:
            break
    assert len(best) >= 3, best


async def test_a_client_that_leaves_in_the_middle_frees_its_slot(llm: Served, real_python: str) -> None:
    """It is gone while the server is frozen in the middle of the answer; the server then drops the task."""
    await ask_fully(real_python, llm)
    frozen = await server_of(llm)
    for _ in range(TRIES):
        async with asking(real_python, llm) as one:
            await frozen.hold()
            while not one.partial and not one.ended:
                await frozen.slice()
            # a client that reads slowly may be in the middle of what the server has said to its end
            left = bool(one.partial) and (await llm.status("llm"))["inFlight"] == 1
        if left:
            break
        frozen.go()
    assert left, "no answer could be frozen in its middle"
    await eventually(lambda: aborted(llm) == ["client"], lambda: f"an aborted request: {aborted(llm)}")
    before = output(llm)
    frozen.go()
    for word in ("cancel task", "stop processing"):
        await eventually(lambda word=word: word in output(llm)[len(before) :], f"llama.cpp to say: {word}")  # type: ignore[misc]
    slots = (await llm.http.get(f"{llm.url}/services/llm/slots")).json()
    assert [slot["is_processing"] for slot in slots] == [False, False]
    await ask_fully(real_python, llm)


def aborted(served: Served) -> list[str]:
    return [line["aborted"] for line in served.lines("request", "llm") if line["aborted"]]
