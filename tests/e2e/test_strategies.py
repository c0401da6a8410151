"""A strategy of one's own in a real gateway: loaded at the start and when it changes, told when it breaks."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli import PATIENCE, PROGRAM, environment
from tests.e2e.served import Served, serving
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
    done = await asyncio.to_thread(
        subprocess.run,
        [*PROGRAM, "strategies", *arguments],
        env=environment(HESTIA_URL=served.url),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout


async def who(served: Served) -> str:
    return (await served.get("/services/a/echo")).headers["x-upstream"]


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
            listed = await strategies(served)
            assert "not loaded" in listed
            assert "SyntaxError" in listed
            told = json.loads(await strategies(served, "--json"))
            assert "def broken(:" in told["failed_strategies"][0]["trace"]
            own.write_text(OWN.replace("WHAT", "reversed(candidates)"), encoding="utf-8")
            await served.until_line("config_reloaded", count=3)
            assert await who(served) == "two"
            assert "not loaded" not in await strategies(served)
