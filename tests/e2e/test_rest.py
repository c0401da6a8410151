"""When services rest and when they do not, over a real gateway and real programs (section ID)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.served import serving
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command

Configuration = dict[str, Any]  # what the file says


def small(folder: Path, name: str, **keys: object) -> Configuration:
    """One service of the file: the small service, with a journal of its own."""
    command = small_command("--journal", str(folder / f"{name}.journal"))
    health = "http://127.0.0.1:{port}/health"
    return {name: {"engine": {"type": "process", "command": command}, "health_url": health, **keys}}


async def test_id07_a_command_keeps_a_service_up_until_its_job_is_done(tmp_path: Path) -> None:
    job, asked = tmp_path / "job", tmp_path / "asked"
    job.touch()
    probe = f'echo "$HESTIA_SERVICE $HESTIA_URL {{port}}" >> {asked}; test ! -e {job}'
    services = small(tmp_path, "a", idle_timeout="200ms", busy_probe=probe)
    async with serving(tmp_path / "g", {"services": services}) as served:
        await served.get("/services/a/")
        await eventually(lambda: asked.exists() and len(asked.read_text().splitlines()) > 3, "four questions")
        status = await served.status("a")
        assert status["phase"] == "hot"
        port = str(status["instances"][0]["address"]).rpartition(":")[2]
        assert set(asked.read_text().splitlines()) == {f"a http://127.0.0.1:{port} {port}"}
        job.unlink()
        await served.until_phase("cold", "a")
        assert served.transitions("a")[-4:] == ["starting", "hot", "stopping", "cold"]


async def test_id07_a_broken_probe_ends_with_a_warning(tmp_path: Path) -> None:
    services = small(
        tmp_path,
        "a",
        idle_timeout="100ms",
        busy_probe="http://127.0.0.1:{port}/nonsense",
        busy_probe_max="300ms",
    )
    async with serving(tmp_path / "g", {"services": services}) as served:
        await served.get("/services/a/")
        await served.until_phase("cold", "a")
        warning = await served.until_line("busy_probe_failed", "a")
        assert warning["level"] == "WARNING"
        assert "expected" in warning["message"]
        stops = [line for line in served.lines(service="a") if line.get("to") == "stopping"]
        assert [line["cause"] for line in stops] == ["busy_unknown"]


async def test_id16_fb11_what_is_kept_warm_starts_by_itself_and_again_after_a_crash(tmp_path: Path) -> None:
    services = small(tmp_path, "a", idle_timeout="100ms", keep_warm=True, restart_backoff={"base": "50ms"})
    services |= small(tmp_path, "b", keep_warm=[{"from": "00:00", "to": "24:00"}])
    services |= small(tmp_path, "c", idle_timeout="100ms")
    async with serving(tmp_path / "g", {"services": services}) as served:
        await served.until_phase("hot", "a")
        await served.until_phase("hot", "b")
        with contextlib.suppress(httpx.HTTPError):  # it ends without an answer
            await served.http.get(f"{served.url}/services/a/crash")
        await eventually(lambda: served.transitions("a").count("hot") == 2, lambda: served.said[-3000:])
        for _ in range(3):  # another one goes to rest meanwhile
            await served.get("/services/c/")
            await served.until_phase("cold", "c")
        assert (await served.status("a"))["phase"] == "hot"
        assert (await served.status("a"))["instances"][0]["idleStopAt"] is None
        answer = await served.http.post(f"{served.url}/v1/services/a/stop")
        assert answer.is_success
        await served.until_phase("cold", "a")
        await served.get("/services/c/")
        await served.until_phase("cold", "c")
        assert (await served.status("a"))["phase"] == "cold"
    assert served.transitions("b")[-2:] == ["stopping", "cold"]


async def test_sf12_services_that_need_others_start_and_stop_in_order(tmp_path: Path) -> None:
    """A herd on both tops of a diamond, then the end of the gateway."""
    services = small(tmp_path, "db", idle_timeout="100ms")
    services |= small(tmp_path, "left", depends_on=["db"]) | small(tmp_path, "right", depends_on=["db"])
    async with serving(tmp_path / "g", {"services": services}) as served:
        await asyncio.gather(*(served.get(f"/services/{name}/") for name in ("left", "right") * 20))
        begun = [(line["service_id"], line["to"]) for line in served.lines() if "to" in line]
        assert begun.count(("db", "starting")) == 1
        assert begun.index(("db", "hot")) < begun.index(("left", "hot"))
        assert all(len(journal.read_text().split("started")) == 2 for journal in tmp_path.glob("*.journal"))
        answer = await served.http.post(f"{served.url}/v1/services/left/stop")
        assert answer.is_success
        await served.until_phase("cold", "left")
        assert (await served.status("db"))["phase"] == "hot"
    ended = [
        (line["service_id"], line["to"]) for line in served.lines() if line.get("to") in ("stopping", "cold")
    ]
    assert ended.index(("right", "cold")) < ended.index(("db", "stopping"))


async def test_sf12_a_failed_dependency_is_named_with_its_reason(tmp_path: Path) -> None:
    engine = {"type": "process", "command": ["/bin/sh", "-c", "echo disk is gone; exit 3", "{port}"]}
    services = {"db": {"engine": engine}, **small(tmp_path, "app", depends_on=["db"])}
    async with serving(tmp_path / "g", {"services": services}) as served:
        answer = await served.http.get(f"{served.url}/services/app/")
        assert answer.status_code == 503
        problem = answer.json()
        assert problem["code"] == "service_start_failed"
        assert '"app" needs "db" (depends_on)' in problem["detail"]
        assert "disk is gone" in problem["detail"]
        assert not (tmp_path / "app.journal").exists()
