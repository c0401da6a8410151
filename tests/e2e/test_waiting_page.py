"""The waiting page in a real browser: it follows the start and arrives, with and without JavaScript.

Debian's Chromium, driven by browser/waits.py; the service is a real process that gets ready when a file is
there. Pictures go to HESTIA_E2E_PICTURES. (experience.md WP)
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.called import run
from tests.e2e.conftest import NODE_CLIENTS, missing, need_module, tool
from tests.e2e.served import launch, serving
from tests.fakes.facts import PATIENCE, eventually
from tests.fakes.programs import small_command
from tests.fakes.wire import request

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(200)]

HERE = Path(__file__).parent
DEEP = "/deep/link?x=1&y=a%20b#part-2"
AXE = NODE_CLIENTS.parent / "node_modules" / "axe-core" / "axe.min.js"
Seen = dict[str, Any]  # the JSON document of waits.py


def configuration(gate: Path, *more: str, **keys: Any) -> dict[str, Any]:
    """Service `app`, ready when `gate` is there. more: words for its program. keys: of the service."""
    engine = {"type": "process", "command": small_command("--gate", str(gate), *more)}
    app = {
        "engine": engine,
        "base_url": "http://127.0.0.1:{port}",
        "health_url": "http://127.0.0.1:{port}/health",
        **keys,
    }
    return {"services": {"app": app}}


async def visit(
    python: str, kind: str, url: str, folder: Path, gate: Path, *, pictures: Path | None = None
) -> Seen:
    """Let the browser do its part; what it saw. pictures: where they go, else where all go."""
    tool("chromium")
    need_module(python, "playwright")
    pictures = pictures or Path(os.environ.get("HESTIA_E2E_PICTURES") or folder)
    seen: Seen = json.loads(
        await run(python, HERE / "browser" / "waits.py", kind, url, pictures, gate, timeout=150)
    )
    return seen


def asked_nobody_else(seen: Seen, url: str) -> None:
    """Every request went to the address that was opened (WP-12, TS-06); no favicon was asked for."""
    assert {one[1].partition("#")[0] for one in seen["requests"]} <= {
        url.partition("#")[0],
        url.partition("#")[0].split("/services/")[0] + "/favicon.ico",
    }, seen["requests"]
    waited = [one for one in seen["requests"] if one[1].endswith("favicon.ico")]
    assert len(waited) <= 1, waited  # of the app, which has no page


def quiet(seen: Seen) -> None:
    """Nothing was complained of but the status of the page itself and of the app's missing icon."""
    others = [one for one in seen["errors"] if "status of 503" not in one and "404" not in one]
    assert not others, others


@pytest.mark.parametrize("way", ["prefix", "host", "plain name"])
async def test_wp05_the_page_opens_the_deep_link_when_the_service_is_hot(
    tmp_path: Path, real_python: str, way: str
) -> None:
    """WP-04, WP-05: query and fragment are kept, the history is as long as before, nothing is seen by the
    service but the one navigation."""
    gate = tmp_path / "gate"
    async with serving(tmp_path / "gateway", configuration(gate)) as served:
        base = {
            "prefix": f"http://localhost:{served.port}/services/app",
            "host": f"http://app.localhost:{served.port}",
            "plain name": f"http://homeserver:{served.port}/services/app",
        }[way]
        seen = await visit(real_python, "arrives", base + DEEP, tmp_path, gate)
        assert seen["status"] == 503
        assert seen["url"] == base + DEEP
        assert '"target": "/deep/link?x=1&y=a%20b"' in seen["shown"]
        assert seen["history"] == seen["history_before"]
        assert "Starting app" in seen["title"]
        assert "You are first in the queue" in seen["said"]
        asked_nobody_else(seen, base + DEEP)
        quiet(seen)
        assert served.transitions("app") == ["starting", "hot"]
        number = json.loads(seen["shown"])["number"]
        assert number == 0, "the page asked the service something"


async def test_wp09_without_javascript_it_comes_back_and_arrives(tmp_path: Path, real_python: str) -> None:
    gate = tmp_path / "gate"
    async with serving(tmp_path / "gateway", configuration(gate)) as served:
        url = f"http://localhost:{served.port}/services/app{DEEP}"
        seen = await visit(real_python, "without_script", url, tmp_path, gate)
        assert "Starting app" in seen["said"]
        assert '"target": "/deep/link?x=1&y=a%20b"' in seen["shown"]
        assert seen["url"] == url.partition("#")[0]  # nobody but a script knows of the fragment
        assert served.transitions("app") == ["starting", "hot"]


async def test_wp08_a_failure_takes_the_place_of_progress_and_can_be_tried_again(
    tmp_path: Path, real_python: str
) -> None:
    """WP-08: reason, last lines and request id; the button is a POST that the gateway checks."""
    words = ("--say", "loading <weights>", "--say", "no such model", "--fail", "3")
    async with serving(tmp_path / "gateway", configuration(tmp_path / "gate", *words)) as served:
        url = f"http://localhost:{served.port}/services/app{DEEP}"
        seen = await visit(real_python, "fails", url, tmp_path, tmp_path / "gate")
        for text in ("loading <weights>", "no such model", "hestia logs app", "Request req_"):
            assert text in seen["said"], seen["said"]
        assert seen["pressed"][0] == 200
        assert seen["pressed"][1].startswith("start;visit=")
        quiet(seen)


async def test_wp06_a_person_may_stop_waiting_and_wait_again(tmp_path: Path, real_python: str) -> None:
    gate = tmp_path / "gate"
    async with serving(tmp_path / "gateway", configuration(gate)) as served:
        url = f"http://localhost:{served.port}/services/app{DEEP}"
        seen = await visit(real_python, "leaves", url, tmp_path, gate)
        assert seen["url"] == url
        quiet(seen)


async def test_wp10_two_tabs_wait_and_both_arrive(tmp_path: Path, real_python: str) -> None:
    gate = tmp_path / "gate"
    async with serving(tmp_path / "gateway", configuration(gate)) as served:
        url = f"http://localhost:{served.port}/services/app{DEEP}"
        await visit(real_python, "two_tabs", url, tmp_path, gate)
        assert served.transitions("app") == ["starting", "hot"]


@pytest.mark.parametrize("how", ["killed", "ended"])
async def test_wp10_a_gateway_that_goes_and_comes_back_is_survived(
    tmp_path: Path, real_python: str, how: str
) -> None:
    """The next gateway adopts the start, or the page, still looked at, begins it again; it arrives."""
    gate, folder = tmp_path / "gate", tmp_path / "gateway"
    first = launch(folder, configuration(gate, on_exit="stop"))
    try:
        started = await first.until_line("gateway_started")
        port = started["listening"].rpartition(":")[2]
        url = f"http://localhost:{port}/services/app{DEEP}"
        async with asyncio.TaskGroup() as group:
            seen = group.create_task(visit(real_python, "survives", url, tmp_path, gate, pictures=tmp_path))
            await eventually((tmp_path / "waiting").exists, "the page to be there", timeout=60)
            first.process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGTERM)
            await first.ended()
            await eventually((tmp_path / "lost.png").exists, "the page to notice", timeout=60)
            async with serving(folder, configuration(gate), "--port", port) as second:
                gate.touch()
                assert (await seen)["url"] == url
                assert second.transitions("app") == ["starting", "hot"]
    finally:
        await first.http.aclose()
        if first.process.poll() is None:
            first.process.kill()
            first.process.wait()


async def test_wp10_behind_a_proxy_that_buffers_the_page_asks_for_single_answers(
    tmp_path: Path, real_python: str
) -> None:
    gate = tmp_path / "gate"
    async with serving(tmp_path / "gateway", configuration(gate)) as served:
        url = f"http://localhost:{served.port}/services/app{DEEP}"
        seen = await visit(real_python, "behind_a_buffer", url, tmp_path, gate)
        assert seen["held"] >= 1
        assert seen["url"] == url


async def test_wp06_a_start_that_is_known_shows_its_share_and_what_is_left(
    tmp_path: Path, real_python: str
) -> None:
    """WP-06: share, estimate and its origin. The picture of the documentation is made here."""
    gate, folder = tmp_path / "gate", tmp_path / "gateway"
    named = configuration(gate)
    named["services"]["sdxl"] = named["services"].pop("app")
    gate.touch()
    async with serving(folder, named) as served:
        await served.http.post(f"{served.url}/v1/services/sdxl/start?wait=true")
    gate.unlink()
    _took(folder, [{"engine": 0.4, "boot": 0.6, "probe": 21.0, "": 22.0}] * 5)
    async with serving(folder, named) as served:
        url = f"http://localhost:{served.port}/services/sdxl{DEEP}"
        seen = await visit(real_python, "picture", url, tmp_path, gate)
        assert re.fullmatch(r"Starting sdxl, \d+ %", seen["title"]), seen["title"]
        assert re.search(r"About \d+ s more, from the last 5 starts", seen["said"]), seen["said"]


def _took(folder: Path, starts: list[dict[str, float]]) -> None:
    """Let the store say that the starts of its one instance took so long."""
    (path,) = (folder / "state").glob("*.db")
    with closing(sqlite3.connect(path)) as database, database:
        changed = database.execute(
            "UPDATE facts SET value = ? WHERE kind = 'history'", (json.dumps({"starts": starts}),)
        )
        assert changed.rowcount == 1


@pytest.mark.parametrize("kind", ["looks", "looks_failed"])
async def test_wp13_it_is_readable_in_both_themes_at_each_width(
    tmp_path: Path, real_python: str, kind: str
) -> None:
    """WP-13: axe-core finds nothing, and nothing is wider than the screen."""
    if not AXE.is_file():
        missing(f"{AXE} is not there; tests/e2e/install.sh gets it")
    gate = tmp_path / "gate"
    words = () if kind == "looks" else ("--say", "CUDA out of memory", "--fail", "3")
    async with serving(tmp_path / "gateway", configuration(gate, *words)) as served:
        url = f"http://localhost:{served.port}/services/app{DEEP}"
        seen = await visit(real_python, kind, url, tmp_path, gate)
        assert not {name: said for name, said in seen["axe"].items() if said}, seen["axe"]
        assert not any(seen.get("wider", [])), seen["wider"]


NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


async def test_sf14_and_wp07_a_page_that_waits_for_room_keeps_the_start_until_it_leaves(
    tmp_path: Path,
) -> None:
    """The request is answered and its connection gone; who waits is the page. Without it nobody does."""
    box = {"box": {"address": "box.lan", "max_instances": 1}}
    app = {
        "engine": {"type": "process", "command": small_command()},
        "health_url": "http://127.0.0.1:{port}/health",
        "machine": "box",
        "min_hot": "100ms",
    }
    services = {"one": app, "two": app}
    async with serving(tmp_path / "gateway", {"machines": box, "services": services}) as served:
        url = f"{served.url}/services/two/deep"

        async def navigate() -> str:
            async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as browser:
                answer = await browser.get(url, headers=NAVIGATION)
            assert answer.status_code == 503, answer.text
            return str(re.findall(r'data-visit="([\w-]+)"', answer.text)[0])

        async def ask(verb: str, page: str) -> dict[str, Any]:
            fields = {"Hestia-Wait": f"{verb};visit={page}", "Accept": "application/json"}
            answer = await served.http.request("GET" if verb == "1" else "POST", url, headers=fields)
            told: dict[str, Any] = answer.json()
            return told

        async with served.client() as busy:
            await busy.send(request("GET", "/services/one/stream?1000000"))
            await busy.until(lambda: b"event 3" in busy.received, "the stream to begin")
            page = await navigate()
            assert (await served.status("two"))["queuePending"] == 1
            told = await ask("1", page)
            assert told["state"] == "waiting"
            assert "Waiting for room on box: one" in told["html"], told["html"]
            await ask("leave", page)
            await served.until_phase("cold", "two")  # needed by nobody, it looks for room no more
            page = await navigate()
        await served.until_phase("hot", "two")
        assert (await ask("1", page))["state"] == "hot"
        assert served.transitions("two").count("hot") == 1
