"""All 517 Autobahn WebSocket cases: minutes of large and compressed messages (T-WS-01, T-WS-02)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.autobahn import clients_cases, servers_cases
from tests.e2e.conftest import need_module

pytestmark = [pytest.mark.load, pytest.mark.timeout(3600)]

CASES = ["*"]


async def test_t_ws_01_kosoku_as_client_sees_the_echo_server_as_without_hestia(
    tmp_path: Path, real_python: str
) -> None:
    need_module(real_python, "kosoku")
    assert await clients_cases(real_python, tmp_path / "gateway", CASES) == ""


async def test_t_ws_02_kosoku_as_upstream_sees_the_echo_client_as_without_hestia(
    tmp_path: Path, real_python: str
) -> None:
    need_module(real_python, "kosoku")
    assert await servers_cases(real_python, tmp_path, CASES) == ""
