"""Each line once, from whichever side it came first."""

from __future__ import annotations

import asyncio

from hestia.engines.semaphore.output import Output


def test_lines_of_events_are_not_told_again_by_the_list() -> None:
    output, told = Output(), list[str]()
    output.add(1, "b")
    output.add(1, "same")
    output.merge(1, ["a", "b", "same", "same"], told.append)
    assert told == ["a", "same"]
    assert output.kept() == b"a\nb\nsame\nsame\n"
    output.merge(1, ["a", "b", "same", "same"], told.append)
    assert told == ["a", "same"]


def test_tasks_stand_one_after_the_other() -> None:
    output = Output()
    output.merge(1, ["start"], lambda line: None)
    output.merge(2, ["stop"], lambda line: None)
    output.merge(1, ["start", "late"], lambda line: None)
    assert output.kept() == b"start\nlate\nstop\n"
    assert output.last(1, 20) == ("start", "late")


def test_last_lines_leave_out_empty_ones() -> None:
    output = Output()
    output.merge(1, ["a", "", "b", "  "], lambda line: None)
    assert output.last(1, 2) == ("a", "b")
    assert output.last(9, 2) == ()


async def test_who_follows_gets_what_is_kept_and_what_comes_until_the_end() -> None:
    output = Output()
    output.add(1, "kept")
    pieces: list[bytes] = []

    async def read() -> None:
        pieces.extend([piece async for piece in output.follow()])

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        await asyncio.sleep(0)
        output.add(1, "comes")
        await asyncio.sleep(0)
        output.add(1, "last")
        output.end()
    assert b"".join(pieces) == b"kept\ncomes\nlast\n"
