"""A running `hestia serve` whose configuration is edited as people and programs do it, and SIGHUP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cli import PATIENCE, PROGRAM, environment
from tests.e2e.served import Served, serving
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command

pytestmark = pytest.mark.e2e

Write = Callable[[Path, str], None]


def small(**keys: Any) -> dict[str, Any]:  # any keys of a service
    engine = {"type": "process", "command": small_command()}
    return {"engine": engine, "health_url": "http://127.0.0.1:{port}/health", **keys}


def text(**services: dict[str, Any]) -> str:
    return yaml.safe_dump({"services": services}, sort_keys=False)


def in_place(path: Path, content: str) -> None:
    """As `nano` does: the file is emptied and filled."""
    with path.open("w") as file:
        for first in range(0, len(content), 40):
            file.write(content[first : first + 40])
            file.flush()


def by_rename(path: Path, content: str) -> None:
    """As `vim` and `sed -i` do."""
    new = path.with_name(".hestia_config.yml.swp")
    new.write_text(content)
    new.replace(path)


def gone_for_a_moment(path: Path, content: str) -> None:
    path.unlink()
    path.write_text(content)


def by_symlink(path: Path, content: str) -> None:
    """As a mounted ConfigMap does: a link leads to another folder."""
    folder = path.parent / f"v{len(list(path.parent.glob('v*')))}"
    folder.mkdir()
    (folder / path.name).write_text(content)
    link = path.parent / "link"
    link.symlink_to(folder / path.name)
    link.replace(path)


def hestia(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    """Call the command line as a program."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(HESTIA_URL=url),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


async def edited(served: Served, write: Write, content: str) -> dict[str, Any]:
    """Edit, and wait until the gateway has said what it makes of it; that line."""
    before = len(served.lines("config_reloaded"))
    write(served.folder / "hestia_config.yml", content)
    return await served.until_line("config_reloaded", count=before + 1)


async def test_an_edit_is_taken_whoever_wrote_it_and_what_runs_stays(tmp_path: Path) -> None:
    async with serving(tmp_path, {"services": {"a": small()}}) as served:
        await served.get("/services/a/")
        programs = served.programs()
        for number, write in enumerate((in_place, by_rename, gone_for_a_moment, by_symlink, by_symlink)):
            line = await edited(
                served, write, text(a=small(queue_size=number + 1), **{f"b{number}": small()})
            )
            assert (line["added"], line["changed"], line["actor"]) == ([f"b{number}"], ["a"], "file")
            await served.get(f"/services/b{number}/")
        assert programs < served.programs()
        line = await edited(served, by_rename, text(b4=small()))
        assert line["removed"] == ["a"]
        await eventually(lambda: not programs & served.programs(), "what was taken out to end")
        assert len(served.lines("config_refused")) == 0


async def test_a_broken_edit_is_told_everywhere_and_a_good_one_recovers(tmp_path: Path) -> None:
    async with serving(tmp_path, {"services": {"a": small()}}) as served:
        file = served.folder / "hestia_config.yml"
        by_rename(file, text(a=small(idle_timout="1h", port="x")))
        line = await served.until_line("config_refused")
        assert len(line["problems"]) == 2
        await served.get("/services/a/")
        last = (await served.get("/v1/config")).json()["reload"]
        assert (last["ok"], [one["nearest"] for one in last["problems"]]) == (False, ["idle_timeout", ""])
        shown = hestia("status", url=served.url)
        assert shown.returncode == 0
        assert "the last edit of the configuration was refused" in shown.stderr
        asked = hestia("config", "reload", url=served.url)
        assert asked.returncode == 1
        assert "services.a.idle_timout" in asked.stdout
        by_rename(file, text(a=small(idle_timeout="1h")) + "host: '::1'\n")
        await served.until_line("config_reloaded")
        asked = hestia("config", "reload", "--json", url=served.url)
        assert asked.returncode == 0
        assert json.loads(asked.stdout)["needsRestart"] == ["host"]
        assert "waits for a restart of the gateway: host" in hestia("status", url=served.url).stderr


async def test_sighup_a_dotenv_that_appears_and_a_file_that_is_gone(tmp_path: Path) -> None:
    async with serving(tmp_path, {"services": {"a": small()}}) as served:
        served.process.send_signal(signal.SIGHUP)
        line = await served.until_line("config_reloaded")
        assert (line["actor"], line["changed"]) == ("SIGHUP", [])
        (tmp_path / ".env").write_text("HESTIA_LOG_LEVEL=DEBUG\n")
        line = await served.until_line("config_reloaded", count=2)
        assert (line["actor"], line["gateway"]) == ("file", ["log_level"])
        (tmp_path / "hestia_config.yml").rename(tmp_path / "elsewhere.yml")
        line = await served.until_line("config_refused")
        assert "is not there any more" in line["problems"][0]
        await served.get("/services/a/")
        os.replace(tmp_path / "elsewhere.yml", tmp_path / "hestia_config.yml")
        await served.until_line("config_reloaded", count=3)
