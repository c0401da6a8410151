"""The file that settings are kept in: other lines stay, and the gateway reads what was written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hestia.cli.semaphore.env_file import is_open, line, read, values_of, with_values, write


def test_other_lines_stay_where_they_are_and_old_values_give_way() -> None:
    text = "# mine\nexport A=1\nB=2\n\nA=3\n"
    assert with_values(text, {"A": "9", "C": "x"}) == "# mine\nA=9\nB=2\n\nC=x\n"


@pytest.mark.parametrize(
    "value", ["plain", "kA-_=", "two words", 'a"b', "a\\b", "$HOME", "a #b", "it's", "", "ü"]
)
def test_what_is_written_is_what_the_gateway_reads(value: str) -> None:
    assert values_of(line("SEMAPHORE_PROJECT", value)) == {"SEMAPHORE_PROJECT": value}


def test_a_new_file_is_for_its_owner_alone_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    new, old, link = tmp_path / "new", tmp_path / "old", tmp_path / "link"
    assert write(new, "A=1\n")
    assert new.stat().st_mode & 0o777 == 0o600
    old.write_text("")
    old.chmod(0o640)
    link.symlink_to(old)
    assert write(link, "A=1\n")
    assert link.is_symlink()
    assert (old.read_text(), old.stat().st_mode & 0o777) == ("A=1\n", 0o640)
    assert not write(old, "A=1\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "new", "old"]


@pytest.mark.parametrize(("mode", "is_told"), [(0o644, True), (0o640, False), (0o600, False)])
def test_se_a_file_that_others_may_read_is_known_as_such(tmp_path: Path, mode: int, *, is_told: bool) -> None:
    path = tmp_path / "env"
    path.write_text("")
    path.chmod(mode)
    assert is_open(path) is is_told
    assert not is_open(tmp_path / "none")


def test_a_file_in_a_folder_that_takes_no_others_is_written_in_its_place(tmp_path: Path) -> None:
    """As where a container has the file mounted, and nothing else."""
    path = tmp_path / "env"
    path.write_text("A=1\n")
    (tmp_path / f".env.{os.getpid()}").mkdir()
    before = path.stat().st_ino
    assert write(path, "A=2\n")
    assert (path.read_text(), path.stat().st_ino) == ("A=2\n", before)
    (tmp_path / f".new.{os.getpid()}").mkdir()
    with pytest.raises(OSError):
        write(tmp_path / "new", "A=1\n")


def test_a_file_that_is_not_there_has_no_text(tmp_path: Path) -> None:
    assert read(tmp_path / "none") is None
