"""The stand-in for Semaphore, held against recordings of real servers: every exchange that was recorded.

HESTIA_TEST_SEMAPHORE_URL=http://LOGIN:PASSWORD@HOST:PORT plays those of 2.10 to a real server instead, a new
one on BoltDB, whose playbooks are in HESTIA_TEST_SEMAPHORE_PLAYBOOKS.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.contract.semaphore_replay import Player
from tests.contract.semaphore_targets import RealServer, StandIn
from tests.e2e.conftest import ROOT, missing
from tests.fakes.semaphore import V2_10, V2_16, Version

FOLDER: Final = ROOT.parent / "shared" / "reference" / "semaphore-recordings"
REAL: Final = os.environ.get("HESTIA_TEST_SEMAPHORE_URL", "")

UNFURNISHED: Final = frozenset({"login", "token", "expired-session", "project-setup"})
LEFT_OUT: Final = {
    "git-clone": "the stand-in uses repositories in place",
    "integrations": "the stand-in has none, because Hestia uses none",
    "store-differences": "not a conversation: two answers side by side",
}
OLD: Final = (
    *("bash", "burst", "delete-task", "errors", "expired-session", "listing", "login", "missing-playbook"),
    *("no-variable-group", "project-limit", "project-setup", "queueing", "restart-mid-task", "roles"),
    *("start-failure", "start-success", "stop-bodies", "stop-running", "stop-running-forced", "stop-service"),
    *("stop-waiting", "stop-waiting-forced", "survey-vars", "terraform-confirmation", "token"),
    *("variable-group", "variables", "ws-auth", "ws-events"),
)
NEW: Final = (
    *("allow-parallel", "errors", "listing", "login", "no-variable-group", "overrides", "project-setup"),
    *("queueing", "start-failure", "start-success", "stop-bodies", "stop-running", "stop-running-forced"),
    *("stop-waiting", "stop-waiting-forced", "token", "variable-group", "ws-events"),
)
# A hand in the database, on the process, a program that is not there; and an order that is the tick's mood.
NOT_ON_REAL: Final = frozenset({"expired-session", "restart-mid-task", "terraform-confirmation", "queueing"})


def recording(folder: Path, scenario: str) -> Any:
    """One recorded conversation."""
    if not FOLDER.is_dir():
        missing(f"{FOLDER} is not there: the recordings of real servers are beside the repository")
    return json.loads((folder / f"{scenario}.json").read_text())


def test_every_recording_is_played_or_left_out_with_a_reason() -> None:
    recording(FOLDER, OLD[0])
    assert {path.stem for path in FOLDER.glob("*.json")} == {*OLD, *LEFT_OUT}
    assert {path.stem for path in (FOLDER / "v2.16").glob("*.json")} == {*NEW}


@pytest.mark.parametrize("scenario", OLD)
@pytest.mark.skipif(bool(REAL), reason="a real server is asked instead")
async def test_the_stand_in_answers_as_2_10_32_did(scenario: str) -> None:
    await _play(V2_10, FOLDER, scenario)


@pytest.mark.parametrize("scenario", NEW)
@pytest.mark.skipif(bool(REAL), reason="a real server is asked instead")
async def test_the_stand_in_answers_as_2_16_did(scenario: str) -> None:
    await _play(V2_16, FOLDER / "v2.16", scenario)


async def _play(version: Version, folder: Path, scenario: str) -> None:
    recorded = recording(folder, scenario)
    async with StandIn.server(version) as server:
        await _play_to(StandIn(server), "admin", "admin", recorded)


async def _play_to(target: StandIn | RealServer, login: str, password: str, recorded: Any) -> None:
    await target.log_in(login, password)
    if recorded["scenario"] not in UNFURNISHED:
        await target.furnish()
    if recorded["scenario"] == "listing":
        await target.have_history()
    await Player(target, recorded).play()


@pytest.mark.parametrize("scenario", [one for one in OLD if one not in NOT_ON_REAL])
@pytest.mark.skipif(not REAL, reason="HESTIA_TEST_SEMAPHORE_URL names no real server")
@pytest.mark.timeout(400)
async def test_a_real_server_answers_as_2_10_32_did(scenario: str) -> None:
    address = urlsplit(REAL)
    url = f"{address.scheme}://{address.hostname}:{address.port}{address.path}"
    target = RealServer(url, os.environ["HESTIA_TEST_SEMAPHORE_PLAYBOOKS"])
    await _play_to(target, address.username or "admin", address.password or "", recording(FOLDER, scenario))
