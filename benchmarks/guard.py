"""What one exchange costs, counted and not timed: Python calls and bytecode instructions of the hot path.

    python -m benchmarks.guard             count, compare with guard.json; exit code 1 when something grew
    python -m benchmarks.guard --accept    make what is counted now the figures to keep, on purpose
    python -m benchmarks.guard --json      count only, as JSON

The counts are the same on every machine and under any load, but not on every Python: `guard.json` has figures
for each `major.minor` they were taken on. A test of the suite compares on every commit.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path as File
from types import FrameType
from typing import Any

import uvloop

from benchmarks.composed import composed
from benchmarks.hot_path import ANSWER, Path

STORED = File(__file__).with_name("guard.json")
OURS = str(File(__file__).parent)
PYTHON = "{}.{}".format(*sys.version_info)
NOT_STORED = "nothing is stored for"
GROWTH = 1.02  # times the stored figure that still pass
WARM_UP, WINDOW, WINDOWS = 300, 64, 5  # runs; 64 is a multiple of the access lines rendered at once

HEAD = b"Host: localhost:8080\r\nUser-Agent: bench\r\nAccept: */*\r\n"
POST = b"POST /services/bench/small HTTP/1.1\r\n" + HEAD + b"Content-Length: 1024\r\n\r\n" + b"b" * 1024
STREAM = b"GET /services/bench/stream HTTP/1.1\r\n" + HEAD + b"\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"1a\r\ndata: " + b"t" * 18 + b"\n\n\r\n"
UPGRADE = (
    b"GET /services/bench/echo HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
UP_FRAME, DOWN_FRAME = b"\x81\xc0\0\0\0\0" + b"m" * 64, b"\x81\x40" + b"m" * 64

Counts = dict[str, float]
Figures = dict[str, Counts]


def _asked(path: Path, request: bytes, answer: bytes) -> None:
    """Bytes from the client, then bytes from the service; each side must have passed them on."""
    before = path.to_upstream.count, path.to_client.count
    path.upstream.uses = 0
    path.upstream.usable_until = float("inf")
    path.client.data_received(request)
    path.upstream.data_received(answer)
    if (path.to_upstream.count, path.to_client.count) <= before:
        raise RuntimeError("the exchange did not take place")


def _get(path: Path) -> Callable[[], None]:
    return path.exchange


def _post(path: Path) -> Callable[[], None]:
    return lambda: _asked(path, POST, ANSWER)


def _chunk(path: Path) -> Callable[[], None]:
    _asked(path, STREAM, STREAM_HEAD)
    return lambda: path.upstream.data_received(CHUNK)


def _frame(path: Path) -> Callable[[], None]:
    _asked(path, UPGRADE, SWITCHED)

    def run() -> None:
        path.client.data_received(UP_FRAME)
        path.upstream.data_received(DOWN_FRAME)

    return run


# name → what is prepared once and then run, whether with access lines, writes to both sides in a run at least
ROWS: dict[str, tuple[Callable[[Path], Callable[[], None]], bool, int]] = {
    "GET, Content-Length": (_get, True, 2),
    "GET, Content-Length, no access line": (_get, False, 2),
    "POST of 1 KiB": (_post, True, 2),
    "one chunk of a stream": (_chunk, True, 1),
    "one WebSocket frame each way": (_frame, True, 2),
}


def _counted(run: Callable[[], None], install: Callable[[Any], None], event: str) -> float:
    """Events of this name in one run outside this folder: the cheapest of a few windows.

    A window may have a write of access lines or the turn of a second in it; the cheapest has not.
    """
    counts = []
    for _ in range(WINDOWS):
        count = 0

        def inside(frame: FrameType, what: str, argument: object) -> Any:
            nonlocal count
            count += what == event
            return inside

        def seen(frame: FrameType, what: str, argument: object) -> Any:
            nonlocal count
            if frame.f_code.co_filename.startswith(OURS):
                return None
            count += what == event
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            return inside

        install(seen)
        try:
            for _ in range(WINDOW):
                run()
        finally:
            install(None)
        counts.append(count)
    return min(counts) / WINDOW


async def _row(prepare: Callable[[Path], Callable[[], None]], access_log: bool, writes: int) -> Counts:
    async with composed(access_log=access_log) as path:
        run = prepare(path)
        before = path.to_client.count + path.to_upstream.count
        for _ in range(WARM_UP):
            run()
        written = path.to_client.count + path.to_upstream.count - before
        if written < WARM_UP * writes:
            raise RuntimeError(f"{written / WARM_UP:g} writes in one run, expected {writes}: nothing passed")
        return {
            "calls": round(_counted(run, sys.setprofile, "call"), 2),
            "instructions": round(_counted(run, sys.settrace, "opcode"), 1),
        }


async def _all() -> Figures:
    return {name: await _row(*row) for name, row in ROWS.items()}


def count() -> Figures:
    """Count every row. Takes a few seconds."""
    gc.disable()  # a collection may run code of ours
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            task: Awaitable[Figures] = _all()
            return runner.run(task)  # type: ignore[arg-type]
    finally:
        gc.enable()


def stored() -> dict[str, Figures]:
    """The figures to keep, by Python version."""
    found: dict[str, Figures] = json.loads(STORED.read_text())
    return found


def grown(now: Figures, kept: Figures) -> list[str]:
    """A sentence for every count that grew by more than 2 %, or has no stored figure."""
    said = []
    for name, counts in now.items():
        for what, value in counts.items():
            limit = kept.get(name, {}).get(what)
            if limit is None:
                said.append(f"{name}: {what} has no stored figure, now {value:g}")
            elif value > limit * GROWTH:
                said.append(f"{name}: {what} grew from {limit:g} to {value:g} ({value / limit - 1:+.1%})")
    return said


def table(now: Figures, kept: Figures) -> str:
    """For people: each count beside the stored one."""
    lines = [f"{'':38}{'calls':>8}{'stored':>8}{'instructions':>14}{'stored':>8}"]
    for name, counts in now.items():
        before = kept.get(name, {})
        lines.append(
            f"{name:38}{counts['calls']:>8g}{before.get('calls', 0):>8g}"
            f"{counts['instructions']:>14g}{before.get('instructions', 0):>8g}"
        )
    return "\n".join(lines)


HOW_TO_ACCEPT = (
    "The path of a request does more than before. Make it cheaper, or, when it is worth it, accept the new\n"
    "figures with `python -m benchmarks.guard --accept` and say in the commit what they pay for."
)


def main() -> int:
    """Exit code 1 when something grew."""
    parser = argparse.ArgumentParser(description="Count what one exchange costs.")
    parser.add_argument("--accept", action="store_true", help="store what is counted now")
    parser.add_argument("--json", action="store_true", help="print the counts only")
    options = parser.parse_args()
    now, everything = count(), stored() if STORED.exists() else {}
    kept = everything.get(PYTHON, {})
    if options.json:
        print(json.dumps(now))
        return 0
    print(table(now, kept))
    if options.accept:
        everything[PYTHON] = now
        STORED.write_text(json.dumps(dict(sorted(everything.items())), indent=1) + "\n")
        print(f"stored for Python {PYTHON} in {STORED.name}")
        return 0
    if not kept:
        print(f"{NOT_STORED} Python {PYTHON}: python -m benchmarks.guard --accept")
        return 0
    if said := grown(now, kept):
        print("\n".join(said), HOW_TO_ACCEPT, sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
