"""When the configuration is read again: looks at files that change, half-written and gone for a moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hestia.api.control import Reload
from hestia.config import load
from hestia.core.difference import Difference
from hestia.core.errors import ConfigError
from hestia.core.model import GatewaySettings, Settings
from hestia.core.strategy import Strategies
from hestia.engines.registry import load_engines
from hestia.reloading import Reloader, watched_files


class Desk:
    """A Reloader over real files, whose looks are taken by the test. told: every attempt."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "hestia_config.yml"
        self.file.write_text("services: {}\n")
        self.dotenv = folder / ".env"
        self.settings = Settings(gateway=GatewaySettings(), services={}, config_path=str(self.file))
        self.told: list[Reload] = []
        self.applied: list[Difference] = []
        self.broken: ConfigError | None = None
        self._asked: list[Coroutine[Any, Any, Reload]] = []
        self.reloader = Reloader(
            self.settings, load=self.load, apply=self.apply, told=self.told.append, spawn=self.spawn
        )

    def load(self) -> Settings:
        return self.settings

    async def apply(self, _new: Settings, found: Difference) -> None:
        if self.broken is not None:
            raise self.broken
        self.applied.append(found)

    def spawn(self, job: Coroutine[Any, Any, Reload], _name: str) -> None:
        self._asked.append(job)

    async def look(self) -> int:
        """One look of the sweep; how often the configuration was read because of it."""
        self.reloader.look()
        asked, self._asked = self._asked, []
        for job in asked:
            await job
        return len(asked)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_a_change_is_read_once_when_it_has_stayed_for_a_look(desk: Desk) -> None:
    assert await desk.look() == 0
    desk.file.write_text("services: {a: {}}\n")
    assert [await desk.look() for _ in range(4)] == [0, 1, 0, 0]
    assert [one.actor for one in desk.told] == ["file"]


async def test_what_is_being_written_is_left_alone(desk: Desk) -> None:
    for size in range(1, 5):
        desk.file.write_text("services: {}\n" * size + "#")
        assert await desk.look() == 0
    assert [await desk.look() for _ in range(2)] == [1, 0]


async def test_a_file_that_is_gone_for_a_moment_is_no_news(desk: Desk, tmp_path: Path) -> None:
    aside = desk.file.rename(tmp_path / "aside")
    assert await desk.look() == 0
    aside.rename(desk.file)
    assert [await desk.look() for _ in range(3)] == [0, 0, 0]


async def test_one_that_stays_away_is_told_once_and_the_old_configuration_stays(desk: Desk) -> None:
    desk.file.unlink()
    assert [await desk.look() for _ in range(4)] == [0, 1, 0, 0]
    assert "is not there any more" in desk.told[0].problems[0].text
    assert desk.applied == []


async def test_a_dotenv_that_comes_changes_and_goes_is_seen_each_time(desk: Desk) -> None:
    for change in (
        lambda: desk.dotenv.write_text("A=1\n"),
        lambda: desk.dotenv.write_text("A=12\n"),
        desk.dotenv.unlink,
    ):
        change()
        assert [await desk.look() for _ in range(3)] == [0, 1, 0]


async def test_a_change_while_it_is_read_is_read_as_well(desk: Desk) -> None:
    texts = ["services: {later: {}}\n"]

    def load_slowly() -> Settings:
        if texts:
            desk.file.write_text(texts.pop())
        return desk.load()

    desk.reloader = Reloader(
        desk.settings, load=load_slowly, apply=desk.apply, told=desk.told.append, spawn=desk.spawn
    )
    await desk.reloader.reload("SIGHUP")
    assert [await desk.look() for _ in range(2)] == [0, 1]


async def test_what_cannot_be_applied_is_told_and_compared_with_what_is_in_force(desk: Desk) -> None:
    old = desk.settings
    desk.settings = replace(old, gateway=replace(old.gateway, log_level="DEBUG", port=9999))
    desk.broken = ConfigError("The port is taken.", remedy="take another")
    refused = await desk.reloader.reload("SIGHUP")
    assert [(one.text, one.remedy) for one in refused.problems] == [("The port is taken.", "take another")]
    desk.broken = None
    for _ in range(2):
        done = await desk.reloader.reload("SIGHUP")
        assert done.found.waiting == ("port",), "named as long as it waits"
    assert [one.gateway for one in desk.applied] == [("log_level",), ()]


async def test_attempts_follow_one_after_the_other(desk: Desk) -> None:
    await asyncio.gather(*(desk.reloader.reload(str(number)) for number in range(5)))
    assert [one.actor for one in desk.told] == ["0", "1", "2", "3", "4"]


def test_without_a_file_the_places_where_one_could_be_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = watched_files(Settings(gateway=GatewaySettings(), services={}))
    assert [Path(one).name for one in found] == ["hestia_config.yml", "hestia_config.yaml", ".env"]


def test_the_folder_of_strategies_and_its_files_are_looked_at(tmp_path: Path) -> None:
    """The folder for files that come and go, each file for what is written into it."""
    (tmp_path / "mine.py").write_text("", encoding="utf-8")
    strategies = Strategies(folder=str(tmp_path))
    found = watched_files(Settings(gateway=GatewaySettings(), services={}, strategies=strategies))
    assert found[-2:] == [str(tmp_path), str(tmp_path / "mine.py")]


def test_files_of_secrets_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("geheimnis", encoding="utf-8")
    file = tmp_path / "hestia_config.yml"
    engine = '{type: process, command: [x, "{port}"], env: {TOKEN: {file: token}}}'
    file.write_text(f"services: {{a: {{engine: {engine}}}}}\n", encoding="utf-8")
    engines = {name: plugin.Options for name, plugin in load_engines().items()}
    read = load(path=str(file), environ={"HOME": str(tmp_path)}, cwd="/", engines=engines)
    assert str(tmp_path / "token") in watched_files(read)


async def test_a_secret_that_comes_after_the_edit_that_names_it_is_seen(desk: Desk, tmp_path: Path) -> None:
    def read() -> Settings:
        return load(path=str(desk.file), environ={"HOME": str(tmp_path)}, cwd="/", engines={})

    desk.reloader = Reloader(read(), load=read, apply=desk.apply, told=desk.told.append, spawn=desk.spawn)
    desk.file.write_text("semaphore_api_key: {file: token}\n", encoding="utf-8")
    assert [await desk.look() for _ in range(3)] == [0, 1, 0]
    (tmp_path / "token").write_text("geheimnis", encoding="utf-8")
    assert [await desk.look() for _ in range(3)] == [0, 1, 0]
    assert [one.ok for one in desk.told] == [False, True]


async def test_who_has_to_know_hears_of_the_beginning_and_the_end_of_each_attempt(desk: Desk) -> None:
    heard: list[str] = []

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        heard.append("begins")
        yield
        heard.append("ends")

    desk.reloader.around = around
    await asyncio.gather(desk.reloader.reload("SIGHUP"), desk.reloader.reload("SIGHUP"))
    assert heard == ["begins", "ends"] * 2
