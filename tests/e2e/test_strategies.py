"""A strategy of one's own in a real gateway: loaded at the start and when it changes, told when it breaks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.process_machine import free_port
from tests.e2e.cli import PATIENCE, PROGRAM, environment
from tests.e2e.served import Served, serving
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream

pytestmark = pytest.mark.e2e

OWN = """
from pydantic import BaseModel
class Options(BaseModel):
    pass
class Own:
    name, version, features, Options = "own", "1.0", (), Options
    def __init__(self, options, instances): pass
    def rank(self, asked, candidates): return WHAT
def register_strategy(registry): registry.register(Own)
"""


async def strategies(served: Served, *arguments: str) -> str:
    """What `hestia strategies` prints."""
    return (await said(served, "strategies", *arguments)).stdout


async def said(served: Served, *words: str) -> subprocess.CompletedProcess[str]:
    """What a command says to the gateway's user."""
    return await asyncio.to_thread(
        subprocess.run,
        [*PROGRAM, *words],
        env=environment(HESTIA_URL=served.url),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )


async def who(served: Served) -> str:
    return (await served.get("/services/a/echo")).headers["x-upstream"]


README = Path(__file__).parents[2] / "strategies" / "README.md"
BOX = """#!/bin/sh
echo "$1 $2" >> calls
pid=$(cat pid 2>/dev/null)
case $1 in
  status) test -n "$pid" && kill -0 "$pid" 2>/dev/null ;;
  start)
    setsid PYTHON -m http.server PORT --bind 127.0.0.1 --directory pages >/dev/null 2>&1 &
    echo $! > pid ;;
  stop) kill "$pid"; rm pid ;;
esac
"""


async def test_an_engine_of_ones_own_starts_stops_and_is_taken_over(tmp_path: Path) -> None:
    """That of strategies/README.md, as printed; a second gateway finds what the first one left."""
    folder = tmp_path / "gateway"
    (folder / "strategies").mkdir(parents=True)
    (folder / "pages").mkdir()
    (folder / "pages" / "hello").write_text("from the box")
    text = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)[1]
    (folder / "strategies" / "script.py").write_text(text)
    port, box = free_port(), folder / "box"
    box.write_text(BOX.replace("PYTHON", sys.executable).replace("PORT", str(port)))
    box.chmod(0o755)
    engine = {"type": "script", "file": str(box)}
    url = f"http://127.0.0.1:{port}"
    one = {"base_url": url, "health_url": f"{url}/hello", "engine": engine, "on_exit": "keep"}
    try:
        for again in (False, True):
            async with serving(folder, {"services": {"a": one}}) as served:
                assert (await served.get("/services/a/hello")).text == "from the box"
                if again:
                    (await served.http.post(f"{served.url}/v1/services/a/stop")).raise_for_status()
                    await eventually(lambda: not (folder / "pid").exists(), "the box to be stopped")
    finally:
        if (folder / "pid").exists():
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    calls = (folder / "calls").read_text().splitlines()
    assert [line.split()[0] for line in calls if not line.startswith("status")] == ["start", "stop"]


async def test_a_file_is_loaded_changed_broken_and_mended_while_requests_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    (folder / "strategies").mkdir(parents=True)
    own = folder / "strategies" / "own.py"
    own.write_text(OWN.replace("WHAT", "candidates[:1]"), encoding="utf-8")
    async with HttpUpstream("one") as one, HttpUpstream("two") as two:
        instances = [{"name": up.name, "url": up.url} for up in (one, two)]
        configuration = {"services": {"a": {"strategy": "own", "instances": instances}}}
        async with serving(folder, configuration) as served:
            assert await who(served) == "one"
            own.write_text(OWN.replace("WHAT", "candidates[1:]"), encoding="utf-8")
            await served.until_line("config_reloaded")
            assert await who(served) == "two"
            own.write_text("def broken(:\n", encoding="utf-8")
            await served.until_line("config_reloaded", count=2)
            assert await who(served) == "one", "its instances in their order"
            (logged,) = served.lines("strategy_not_loaded")
            assert f"{own}: line 1: SyntaxError" in str(logged["message"])
            assert "def broken(:" in str(logged["message"])
            for command in ("status", "config reload"):
                warned = (await said(served, *command.split())).stderr
                assert "warning: services.a.strategy: there is no strategy 'own', and not every" in warned
                assert f"warning: not loaded: {own}: line 1: SyntaxError" in warned
            listed = await strategies(served)
            assert "not loaded" in listed
            assert "SyntaxError" in listed
            told = json.loads(await strategies(served, "--json"))
            assert "def broken(:" in told["failed_strategies"][0]["trace"]
            own.write_text(OWN.replace("WHAT", "reversed(candidates)"), encoding="utf-8")
            await served.until_line("config_reloaded", count=4)
            assert await who(served) == "two"
            assert "not loaded" not in await strategies(served)
            own.write_text(OWN.replace("WHAT", "1 // 0"), encoding="utf-8")
            await served.until_line("config_reloaded", count=5)
            assert await who(served) == "one", "its instances in their order"
            assert "a: its strategy failed for 1 request, " in await strategies(served)
