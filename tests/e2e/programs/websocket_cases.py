"""The Autobahn WebSocket cases, by kosoku: as the client of a server, or as the server of a client.

    websocket_cases.py client URL [CASE…]
    websocket_cases.py server [CASE…]

CASE: a case's number or a pattern such as `9.*`; all without one. As a server it first prints its port on a
line of its own, and serves until its client asks for the reports. Last comes one line of JSON: what became
of each case. Run by the interpreter of the real servers.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

from kosoku import (  # type: ignore[import-not-found]  # lives in the other environment
    FailureError,
    run_fuzzingclient,
    run_fuzzingserver,
)


async def client(url: str, cases: list[str]) -> Any:  # kosoku's own results, hence Any
    """Play every case against the server at a URL."""
    return await results(run_fuzzingclient(url, cases or None, concurrency=4))


async def server(cases: list[str]) -> Any:
    """Play every case against the client that comes."""
    async with run_fuzzingserver(cases or None, port=0) as serving:
        print(serving.port, flush=True)
        return await results(serving.get_result())


async def results(played: Awaitable[Any]) -> Any:
    """What became of each case, whether or not all passed."""
    try:
        return await played
    except FailureError as failed:
        return failed.results


def main() -> None:
    """Play and tell."""
    mode, *rest = sys.argv[1:]
    found = asyncio.run(client(rest[0], rest[1:]) if mode == "client" else server(rest))
    told = {
        one.case_id: [
            one.behavior.value,
            one.behavior_close.value,
            one.local_close_code,
            one.remote_close_code,
        ]
        for one in found
    }
    print(json.dumps(told), flush=True)


main()
