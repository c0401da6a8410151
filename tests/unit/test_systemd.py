"""Notifications, given sockets and the watchdog, towards a socket as systemd opens it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest

from hestia.systemd import Notifier, given_sockets, is_activated


def manager(folder: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(folder / "notify"))
    sock.setblocking(False)
    return sock


async def test_ob_10_who_is_not_well_says_nothing_to_the_watchdog(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"}
    environment["WATCHDOG_PID"] = str(os.getpid())
    loop = asyncio.get_running_loop()
    with manager(tmp_path) as sock:
        notifier = Notifier(environment)
        assert environment == {}, "no program started later may answer in its place"
        well = True
        task = loop.create_task(notifier.keep_alive(lambda: (well, "2 services")))
        assert await loop.sock_recv(sock, 1000) == b"STATUS=2 services\nWATCHDOG=1"
        well = False
        for _ in range(100):  # one that was under way may still say so
            if (said := await loop.sock_recv(sock, 1000)) == b"STATUS=2 services":
                break
        assert said == b"STATUS=2 services"
        task.cancel()
        await asyncio.wait({task})


async def test_without_systemd_nothing_is_said_and_nothing_runs() -> None:
    notifier = Notifier({})
    assert not notifier.asked
    notifier.say("READY=1")
    await notifier.keep_alive(lambda: (True, ""))


def test_an_abstract_address_and_a_manager_that_is_gone(tmp_path: Path) -> None:
    name = f"hestia-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        Notifier({"NOTIFY_SOCKET": "@" + name}).say("READY=1")
        assert sock.recv(100) == b"READY=1"
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).say("READY=1")


def test_sockets_for_another_process_are_not_taken() -> None:
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "2"}
    assert not is_activated(environment)
    assert len(given_sockets(environment)) == 0
    assert environment == {}


def test_a_reload_is_told_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    with manager(tmp_path) as sock:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        before = time.monotonic_ns() // 1000
        with notifier.reloading():
            first, at = sock.recv(100).split(b"\n")
            name, _, moment = at.partition(b"=")
            assert (first, name) == (b"RELOADING=1", b"MONOTONIC_USEC")
            assert before <= int(moment) <= time.monotonic_ns() // 1000
        assert sock.recv(100) == b"READY=1"


def test_a_gateway_that_ends_during_a_reload_is_not_ready_again(tmp_path: Path) -> None:
    with manager(tmp_path) as sock:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        with notifier.reloading():
            notifier.say("STOPPING=1")
        assert sock.recv(100).startswith(b"RELOADING=1")
        assert sock.recv(100) == b"STOPPING=1"
        with pytest.raises(BlockingIOError):
            sock.recv(100)
