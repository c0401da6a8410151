"""The gateway that is asked for its place, towards new gateways that hang, are not its user's, or are two."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.errors import ConfigError
from hestia.edge.given import Heard
from hestia.runtime.held import InUse
from hestia.takeover import old, wire
from hestia.takeover.new import Predecessor, find
from hestia.takeover.old import Offer, Outcome
from tests.fakes.facts import eventually

HANGS = """
import os, signal, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sock.sendall(b'{"protocol": 1, "version": "0"}\\n')
socket.recv_fds(sock, 65536, 10)
sock.sendall(b'{"take": true}\\n')
while True:
    signal.pause()
"""


class Serving:
    """A place with one listening socket. given_up: it was handed over."""

    def __init__(self) -> None:
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.given_up = False

    def sockets(self) -> list[Heard]:
        return [Heard("", self._sock.dup())]

    async def farewell(self) -> None:
        await asyncio.sleep(0)

    async def hand_over(self) -> list[InUse]:
        self.given_up = True
        return []

    def close(self) -> None:
        self._sock.close()


@contextlib.asynccontextmanager
async def offering(
    folder: Path, *, serve_limit: float = old.SERVE_LIMIT
) -> AsyncIterator[tuple[Serving, asyncio.Task[Outcome]]]:
    """A place on offer in a state folder, and what comes of it."""
    serving = Serving()
    offer = Offer(str(folder), version="1", place=lambda: serving, refuse=lambda: "", serve_limit=serve_limit)
    offer.open()
    asked = asyncio.get_running_loop().create_task(offer.outcome())
    try:
        yield serving, asked
    finally:
        asked.cancel()
        await asyncio.wait({asked})
        offer.close()
        offer.forget()
        serving.close()
        if offer.successor is not None:
            offer.successor.close()


async def found(folder: Path) -> Predecessor:
    """Ask as a new gateway does."""
    asked = await asyncio.get_running_loop().run_in_executor(None, lambda: find(str(folder), version="2"))
    assert asked is not None
    return asked


async def test_dr_a_new_gateway_that_hangs_with_everything_is_ended_and_the_old_one_goes_on(
    tmp_path: Path,
) -> None:
    async with offering(tmp_path, serve_limit=0.2) as (serving, asked):
        program = subprocess.Popen([sys.executable, "-c", HANGS, str(wire.place(str(tmp_path)))])
        try:
            assert await asked is Outcome.FAILED
            assert serving.given_up
            await eventually(lambda: program.poll() is not None, "the one that hangs to be ended")
        finally:
            program.kill()
            program.wait()


async def test_during_one_takeover_another_one_is_told_so(tmp_path: Path) -> None:
    async with offering(tmp_path) as (serving, asked):
        first = await found(tmp_path)
        try:
            with pytest.raises(ConfigError, match="another takeover is under way") as refused:
                await found(tmp_path)
            assert "wait" in refused.value.remedy
            assert await first.take() == []
            await first.serves()
            assert await asked is Outcome.DONE
            assert serving.given_up
        finally:
            first.close()


async def test_who_is_gone_makes_room_for_the_next(tmp_path: Path) -> None:
    async with offering(tmp_path) as (serving, asked):
        (await found(tmp_path)).close()
        for _ in range(100):  # the old one learns of it in its own time
            with contextlib.suppress(ConfigError):
                (await found(tmp_path)).close()
                break
        else:
            raise AssertionError("never asked again")
        assert not asked.done()
        assert not serving.given_up


async def test_that_no_descriptor_is_free_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old, "ACCEPT_PAUSE", 0.01)
    accept, refusals = socket.socket.accept, [OSError(24, "Too many open files")] * 2

    def full(self: socket.socket) -> tuple[socket.socket, object]:
        if refusals:
            raise refusals.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", full)
    async with offering(tmp_path) as (_, asked):
        (await found(tmp_path)).close()
        assert not refusals
        assert not asked.done()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_root_does_not_take_over_the_gateway_of_a_user(tmp_path: Path) -> None:
    """What it started from then on would be root's."""
    async with offering(tmp_path) as (serving, asked):
        with socket.socket(socket.AF_UNIX) as sock:
            with wire.short_path(wire.place(str(tmp_path))) as short:
                sock.connect(short)
            os.seteuid(65534)
            try:
                sock.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(sock, wire.line(protocol=wire.PROTOCOL))
                told = await wire.receive(sock, loop.sock_recv)
            finally:
                os.seteuid(0)
        assert told == {"refused": "the gateway belongs to the user with the number 65534"}
        assert not asked.done()
        assert not serving.given_up
