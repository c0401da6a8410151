"""The Autobahn WebSocket cases through Hestia end as they end without it; tests/load has the long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.autobahn import clients_cases, servers_cases
from tests.e2e.conftest import need_module

pytestmark = [pytest.mark.e2e]

CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
CASES += ["12.1.1", "12.3.1", "13.1.1", "13.3.1", "13.7.1"]  # one of each way to agree on compression


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
