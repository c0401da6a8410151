"""A program has its limit of open files before its first instruction; the gateway keeps its own (LI-14)."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hestia.core.errors import EngineRefused
from hestia.engines.process_launch import Launch, launch

FEW = 300
MANY = 600


@pytest.fixture(autouse=True)
def raised() -> Iterator[None]:
    """This process may have more files open than the program is to have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    after = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert after == (before[1], before[1])


@pytest.fixture
def crowd() -> Iterator[None]:
    """More files are open here than the program is to have."""
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(MANY)]
    yield
    for one in held:
        os.close(one)


def shell(script: str) -> Launch:
    return Launch("/bin/sh", ("sh", "-c", script), None, {"PATH": os.defpath}, None)


def said(tmp_path: Path, open_files: int | None) -> str:
    with (tmp_path / "said").open("w+b") as output:
        os.waitpid(launch(shell("ulimit -Sn"), output=output.fileno(), open_files=open_files), 0)
        output.seek(0)
        return output.read().decode().strip()


def test_li_14_a_program_never_sees_the_limit_that_was_raised(tmp_path: Path) -> None:
    assert {said(tmp_path, FEW) for _ in range(50)} == {str(FEW)}


def test_li_14_without_a_limit_of_its_own_a_program_has_the_gateway_s(tmp_path: Path) -> None:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert said(tmp_path, None) == ("unlimited" if soft == resource.RLIM_INFINITY else str(soft))


@pytest.mark.usefixtures("crowd")
def test_li_14_a_program_starts_while_more_files_are_open_than_it_may_have(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w+b") as output:
        pid = launch(shell("exec sleep 1000"), output=output.fileno(), open_files=FEW)
    try:
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == FEW
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_li_14_a_program_that_cannot_start_leaves_the_limit_as_it_was() -> None:
    plan = Launch("/nowhere/program", ("program",), None, {}, None)
    with pytest.raises(EngineRefused), open(os.devnull, "wb") as output:
        launch(plan, output=output.fileno(), open_files=FEW)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] != FEW
