"""The zoo's application on aiohttp's own server: `aiohttp_server.py PORT`. See `servers.py`."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

from aiohttp import web  # type: ignore[import-not-found,unused-ignore]  # lives in the other environment

journal: list[str] = []
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer one request."""
    journal.append(f"{request.method} {request.path}")
    name = request.path.rpartition("/")[2]
    if name == "stream":
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        await asyncio.wait_for(gates[request.query_string].wait(), 60)
        await response.write(b"second\n")
        return response
    body = b"hello\n"
    if name == "open":
        gates[request.query_string].set()
    elif name == "journal":
        body = "\n".join(journal).encode()
    elif name == "echo":
        body = await request.read()
    elif request.headers.get("If-None-Match") == '"1"':
        return web.Response(status=304, headers={"ETag": '"1"'})
    return web.Response(body=body, headers={"ETag": '"1"'})


app = web.Application(client_max_size=1 << 30)
app.router.add_route("*", "/{rest:.*}", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), keepalive_timeout=1, print=None)
