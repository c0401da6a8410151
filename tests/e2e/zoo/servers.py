"""The zoo: real HTTP servers by name, how each is started, and whether it is there.

Every server runs an application that answers by the last part of the path:

- `echo`: the body of the request;
- `stream?NAME`: "first", and "second" once somebody has asked for `open?NAME`; no length;
- `journal`: method and path of every request so far, one a line;
- anything else: "hello" with an entity tag, 304 to who has that.

Each closes a connection that was idle for about a second, where it can be told to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import has_module

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Server:
    """One kind of server. words: its command line behind the interpreter; `{port}` is for the gateway.

    closes_idle: whether it closes idle connections soon.
    """

    name: str
    words: tuple[str, ...]
    program: str = ""
    closes_idle: bool = True

    def missing(self, python: str) -> str:
        """Why it cannot run here; "" when it can."""
        if self.program:
            return "" if found(self.program) else f"{self.program} is not installed"
        return "" if has_module(python, self.name) else f"{python} has no module {self.name}"

    def command(self, python: str, folder: Path) -> list[str]:
        """Its command line. folder: where to build what has to be built."""
        first = found(self.program) or python
        if self.name == "go":  # `go run` would have to be killed twice
            built = str(folder / "go_server")
            plain = {**os.environ, "CGO_ENABLED": "0"}  # as install.sh has compiled the library
            command = [first, "build", "-o", built, str(HERE / "go_server.go")]
            subprocess.run(command, check=True, timeout=300, env=plain)
            first = built
        return [first, *self.words]


def found(program: str) -> str:
    """Where a program is, "" when it is not there. Go's own installer puts it where PATH does not look."""
    return (shutil.which(program) or shutil.which(f"/usr/local/go/bin/{program}") or "") if program else ""


def module(name: str, *words: str, closes_idle: bool = True) -> Server:
    """A server that is a Python module with a command line."""
    return Server(name, ("-m", name, *words), closes_idle=closes_idle)


BIND = "127.0.0.1:{port}"
SERVERS = [
    module(
        "uvicorn", "asgi:app", "--port", "{port}", "--timeout-keep-alive", "1", "--lifespan", "off",
    ),
    module("hypercorn", "asgi:app", "--bind", BIND, "--keep-alive", "1"),
    module("granian", "asgi:app", "--interface", "asginl", "--port", "{port}", closes_idle=False),
    module("gunicorn", "wsgi:app", "--bind", BIND, "--threads", "4", "--keep-alive", "1"),
    module(
        "waitress", "--listen", BIND, "--channel-timeout", "1", "--cleanup-interval", "1", "wsgi:app",
    ),
    module("cheroot", "wsgi:app", "--bind", BIND, "--timeout", "1"),
    Server("aiohttp", (str(HERE / "aiohttp_server.py"), "{port}")),
    Server("tornado", (str(HERE / "tornado_server.py"), "{port}")),
    Server("node", (str(HERE / "node_server.mjs"), "{port}"), program="node"),
    Server("go", ("{port}",), program="go"),
]  # fmt: skip
