"""The small service of `hestia demo`: says hello and tells a story word by word. Standard library only.

    python -m hestia.cli.demo_service --name slow --port 9100 --start-delay 8

Listens only after `--start-delay` seconds, as a program that loads a model does. SIGTERM ends it with 0.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

STORY: Final = (
    "I was asleep. You asked, so I got up, put the kettle on and lit the fire. "
    "Every word of this leaves me on its own, and reaches you as it comes."
)
WORD_PAUSE: Final = 0.06


class Service(BaseHTTPRequestHandler):
    """`/hello`, `/story` (streamed), `/health`."""

    protocol_version = "HTTP/1.1"
    service_name = ""

    def do_GET(self) -> None:
        """Answer by path."""
        path = self.path.partition("?")[0]
        if path == "/health":
            self._answer(200, "ready\n")
        elif path in ("/", "/hello"):
            self._answer(200, f"hello from {self.service_name}\n")
        elif path == "/story":
            self._tell()
        else:
            self._answer(404, "there is /hello and /story here\n")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _tell(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in STORY.split():
            self._chunk(f"{word} ".encode())
            time.sleep(WORD_PAUSE)
        self._chunk(b"\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def main() -> None:
    """Wait, listen, serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="The small service of `hestia demo`.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--start-delay", type=float, default=0.0, help="seconds before it listens")
    arguments = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print(f"{arguments.name}: starting, {arguments.start_delay:g} s of work first", flush=True)
    if ended.wait(arguments.start_delay):
        sys.exit(0)
    Service.service_name = arguments.name
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Service)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="serve", daemon=True).start()
    print(f"{arguments.name}: ready on port {arguments.port}", flush=True)
    ended.wait()
    server.shutdown()
    print(f"{arguments.name}: stopped", flush=True)


if __name__ == "__main__":
    main()
