"""`hestia db` on the file of a real gateway, while it runs and afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import Caller
from tests.e2e.served import serving
from tests.fakes.programs import small_command

pytestmark = pytest.mark.e2e


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HESTIA_STATE_DIR", str(tmp_path / "g" / "state"))
    monkeypatch.setenv("HESTIA_ENV_SERVICES", "off")
    return Caller(capfd)


def shown(call: Caller, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What a call prints with --json."""
    ran = call("db", *arguments, "--json")
    assert ran.code == code, ran
    document: dict[str, Any] = json.loads(ran.out)
    return document


async def test_check_backup_and_vacuum(tmp_path: Path, call: Caller) -> None:
    service = {
        "engine": {"type": "process", "command": small_command()},
        "health_url": "http://127.0.0.1:{port}/health",
    }
    async with serving(tmp_path / "g", {"services": {"one": service}}) as served:
        await served.get("/services/one/x")
        assert shown(call, "check")["holder"] == str(served.process.pid)
        assert f"pid {served.process.pid} uses it" in call("db", "check").out
        refused = call("db", "vacuum")
        assert refused.code == 1
        assert "stop the gateway first" in refused.err
        assert shown(call, "backup", "copy.db")["size"] == (tmp_path / "copy.db").stat().st_size
        assert shown(call, "backup", "copy.db", code=1)["code"] == "database_error"
        await served.get("/services/one/y")
    after = shown(call, "check")
    assert after["ok"]
    assert after["events"] >= 4
    assert (after["generations"], after["holder"]) == (0, "")
    assert shown(call, "vacuum")["after"] > 0
    assert "is sound" in call("db", "check").out


def test_damaged_file_is_exit_code_1(tmp_path: Path, call: Caller) -> None:
    state = tmp_path / "g" / "state"
    state.mkdir(parents=True)
    (state / "hestia.db").write_bytes(b"nonsense" * 999)
    assert not shown(call, "check", code=1)["ok"]
    ran = call("db", "check")
    assert ran.code == 1
    assert "is damaged" in ran.out


def test_where_nothing_is_kept(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESTIA_DATABASE_URL", "memory:")
    ran = call("db", "check")
    assert ran.code == 1
    assert "database_url" in ran.err


def test_alone_it_tells_what_there_is(call: Caller) -> None:
    ran = call("db")
    assert ran.code == 0
    assert all(word in ran.out for word in ("check", "vacuum", "backup"))
