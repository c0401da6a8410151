"""The zoo's application on Tornado's own server: `tornado_server.py PORT`. See `servers.py`."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

from tornado.httpserver import HTTPServer  # type: ignore[import-not-found]  # lives in the other environment
from tornado.web import Application, RequestHandler  # type: ignore[import-not-found]

journal: list[str] = []
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


class Answer(RequestHandler):  # type: ignore[misc]  # a class of the other environment
    """Answers one request."""

    async def prepare(self) -> None:
        request = self.request
        journal.append(f"{request.method} {request.path}")
        name = request.path.rpartition("/")[2]
        if name == "stream":
            self.write(b"first\n")
            await self.flush()
            await asyncio.wait_for(gates[request.query].wait(), 60)
            self.finish(b"second\n")
            return
        body = b"hello\n"
        if name == "open":
            gates[request.query].set()
        elif name == "journal":
            body = "\n".join(journal).encode()
        elif name == "echo":
            body = request.body
        self.set_header("Etag", '"1"')
        if request.headers.get("If-None-Match") == '"1"':
            self.set_status(304)
            self.finish()
        else:
            self.finish(body)


async def main() -> None:
    """Serve until somebody ends it."""
    server = HTTPServer(Application([("/.*", Answer)]), idle_connection_timeout=1)
    server.listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
