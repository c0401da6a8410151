"""The captured output on disk: its last lines, following, rotation, old generations (EN-15)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
from hestia.engines.process_output import follow, last_output, log_path, open_log, prune, rotate, tail


def write(path: Path, text: bytes) -> None:
    with open(path, "ab") as file:
        file.write(text)


def test_the_last_lines_are_bounded_in_number_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    write(path, b"".join(b"line %d\n" % n for n in range(1000)))
    text, end = last_output(path, lines=3)
    assert text == b"line 997\nline 998\nline 999\n"
    assert end == path.stat().st_size
    text, _ = last_output(path, lines=1000, limit=20)
    assert text == b"line 998\nline 999\n", "a line whose beginning is cut off is left out"


def test_one_endless_line_is_shown_by_its_end(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    write(path, b"x" * 100_000)
    text, _ = last_output(path)
    assert text == b"x" * 65536
    assert tail(path, lines=20) == ("x" * 500,)


def test_after_a_rotation_the_last_lines_reach_back(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    write(path, b"a\nb\nc\n")
    rotate(path, 4)
    assert path.read_bytes() == b""
    write(path, b"d\n")
    assert last_output(path, lines=3)[0] == b"b\nc\nd\n"


def test_en15_rotation_keeps_the_end_within_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    for n in range(10):
        write(path, b"%d" % n * 1000)
        rotate(path, 500)
    assert (tmp_path / "1.log.1").read_bytes() == b"9" * 500
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["1.log", "1.log.1"]


def test_a_program_goes_on_writing_after_rotation(tmp_path: Path) -> None:
    """It has the file open in append mode: after the truncation it writes at the beginning, no hole."""
    path = tmp_path / "svc" / "1.log"
    output = open_log(path)
    os.write(output, b"before\n")
    rotate(path, 100)
    os.write(output, b"after\n")
    os.close(output)
    assert path.read_bytes() == b"after\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_tail_for_an_error_is_plain_text_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    write(path, b"\x1b[1;31mred\x1b[0m\x07 caf\xc3\xa9 \xff\n10%\r20%\r\nkey=hunter2\n")
    assert tail(path, lines=20, secrets=("hunter2",)) == ("red café \ufffd", "10%", "20%", "key=***")
    assert tail(tmp_path / "none", lines=20) == ()


def test_the_last_three_generations_are_kept(tmp_path: Path) -> None:
    for generation in (1, 2, 9, 10, 11):
        write(tmp_path / f"{generation}.log", b"x")
        write(tmp_path / f"{generation}.log.1", b"x")
    prune(tmp_path / "11.log")
    assert {entry.name.split(".")[0] for entry in tmp_path.iterdir()} == {"9", "10", "11"}


@pytest.mark.parametrize("instance", ["main", "http://10.0.0.1:80", "..", "a/b"])
def test_a_name_cannot_leave_its_folder(tmp_path: Path, instance: str) -> None:
    key = InstanceKey(GatewayId("g"), ServiceId("svc"), InstanceId(instance), 3)
    path = log_path(tmp_path, key)
    assert path.resolve().parent.parent == tmp_path.resolve() / "svc"
    assert path.name == "3.log"


async def test_follow_gives_what_comes_and_ends_when_all_is_read(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    write(path, b"old\n")
    ended = False
    pieces: list[bytes] = []

    async def read() -> None:
        async for piece in follow(path, offset=4, ended=lambda: ended):
            pieces.append(piece)  # noqa: PERF401  # the test looks at the list meanwhile

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(read())
        write(path, b"new\n")
        while not pieces:
            await asyncio.sleep(0.01)
        rotate(path, 100)
        write(path, b"x\n")
        while len(pieces) < 2:
            await asyncio.sleep(0.01)
        write(path, b"last\n")
        ended = True
    assert b"".join(pieces) == b"new\nx\nlast\n"
