"""The state folder: one identity for good, one gateway at a time, words for what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hestia.core.errors import ConfigError
from hestia.store.folder import StateFolder
from tests.fakes.disk import SmallDisk, small_disk


def test_the_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    first = StateFolder(str(tmp_path / "state"))
    made = first.open()
    first.close()
    again = StateFolder(str(tmp_path / "state"))
    assert again.open() == made
    again.close()
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_a_second_gateway_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    first, second = StateFolder(str(tmp_path)), StateFolder(str(tmp_path))
    first.open()
    with pytest.raises(ConfigError) as caught:
        second.open()
    assert f"pid {os.getpid()}" in caught.value.detail
    assert "HESTIA_STATE_DIR" in caught.value.remedy
    first.close()
    second.open()
    second.close()
    second.close()


@pytest.mark.parametrize("text", ["", "two words\n", "../x\n", "\n"])
def test_a_spoilt_identity_is_made_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "gateway_id").write_text(text)
    folder = StateFolder(str(tmp_path))
    assert folder.open().isalnum()
    folder.close()


def test_a_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError) as caught:
        StateFolder(str(tmp_path / "file" / "state")).open()
    assert str(tmp_path / "file" / "state") in caught.value.detail


def test_no_path_is_no_folder() -> None:
    with pytest.raises(ConfigError):
        StateFolder("").open()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size="1m") as made:
        yield made


def test_a_read_only_folder_keeps_its_identity_and_is_still_for_one_gateway(disk: SmallDisk) -> None:
    first = StateFolder(str(disk.path))
    made = first.open()
    first.close()
    disk.writable(False)
    assert first.open() == made
    assert "mount it for writing" in first.trouble
    with pytest.raises(ConfigError, match="uses the state folder"):
        StateFolder(str(disk.path)).open()
    first.close()


def test_an_empty_read_only_folder_gives_an_identity_for_this_time(disk: SmallDisk) -> None:
    disk.writable(False)
    one = StateFolder(str(disk.path))
    assert one.open().isalnum()
    with pytest.raises(ConfigError, match="uses the state folder"):
        StateFolder(str(disk.path)).open()
    one.close()


def test_a_folder_that_cannot_be_made_is_no_folder(disk: SmallDisk) -> None:
    disk.writable(False)
    with pytest.raises(ConfigError) as caught:
        StateFolder(str(disk.path / "state")).open()
    assert "mount it for writing" in caught.value.remedy
