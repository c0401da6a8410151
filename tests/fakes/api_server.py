"""A gateway's control API without a gateway: documents as they were written, states as a script has them.

For tests of the command line. Each look at a service's status plays its script one step further, so that a
start that is followed shows every stage whatever the pace of the machine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Document = dict[str, Any]  # JSON as the API sends it

NOW = "2026-01-31T12:03:04.120Z"


def stage(name: str, text: str, *, ms: int, done: bool, usual: int | None = None) -> Document:
    """One part of a start."""
    return {"name": name, "text": text, "elapsedMs": ms, "done": done, "usualMs": usual}


def status(name: str, phase: str = "cold", **more: Any) -> Document:
    """A status document with every field of the contract."""
    generation = more.pop("generation", 1)
    stages = more.pop("stages", [])
    seeds = {"draining": "stopping", "failed": "cold", "suspect": "hot"}
    instance = {
        "id": name,
        "state": seeds.get(phase, phase),
        "phase": phase,
        "machineId": "local",
        "engine": "process",
        "address": "http://127.0.0.1:9100",
        "generation": generation,
        "inFlight": 0,
        "since": NOW,
        "startedAt": None,
        "lastUsedAt": None,
        "idleStopAt": None,
        "retryAt": None,
        "external": False,
        "stages": stages,
        "lastError": None,
    }
    return {
        "serviceId": name,
        "state": seeds.get(phase, phase),
        "machineId": "local",
        "readiness": "ready" if phase == "hot" else "not_ready",
        "queuePending": 0,
        "phase": phase,
        "inFlight": 0,
        "lastUsedAt": None,
        "idleStopAt": None,
        "startedAt": NOW if phase == "hot" else None,
        "estimatedReadyMs": None,
        "lastError": None,
        "instances": [instance],
        "automation": {"enabled": False, "provider": None, "machine_id": None, "current_task": None,
                       "last_task": None},
        "engine": "process",
        "since": NOW,
        "retryAt": None,
        "episode": "",
        "idleTimeoutMs": 1800000,
        **more,
    }  # fmt: skip


def last_error(detail: str, **more: Any) -> Document:
    """A `lastError` of a failed start."""
    return {
        "code": "service_start_failed", "detail": detail, "cause": "exited", "stage": "boot",
        "remedy": "correct `command`", "at": NOW, "tail": [], **more,
    }  # fmt: skip


class FakeApi:
    """What answers. scripts: what each look at a status plays next; the last document stays.

    calls: method and path with query of every call, in order. logs: output per service.
    refuse: status to answer everything with, as a gateway with access control does.
    """

    def __init__(self) -> None:
        self.services: dict[str, Document] = {}
        self.scripts: dict[str, list[Document]] = {}
        self.after: dict[tuple[str, str], list[Document]] = {}
        self.calls: list[str] = []
        self.keys: list[str] = []
        self.logs: dict[str, bytes] = {}
        self.refuse = 0
        self.url = ""
        self.port = 0

    def add(self, document: Document) -> None:
        """Know a service."""
        self.services[document["serviceId"]] = document

    def play(self, name: str, verb: str, *documents: Document) -> None:
        """After `verb` was called for the service, looks show these, one after the other."""
        self.after[name, verb] = list(documents)

    def answer(self, method: str, path: str) -> tuple[int, bytes, str]:
        """Status, body and media type for one call."""
        where = path.partition("?")[0]
        if self.refuse:
            return self._problem(self.refuse, "unauthorized", "A key is needed.")
        if where == "/healthz":
            return self._json({"status": "ok", "ready": True, "problems": [], "version": "0.0.9",
                               "startedAt": NOW})  # fmt: skip
        if where == "/v1/config":
            return self._json({"path": "/etc/hestia/hestia_config.yml", "settings": [], "warnings": []})
        if where == "/v1/services":
            return self._json([self._now(name) for name in self.services])
        parts = where.strip("/").split("/")
        if len(parts) != 4 or parts[:2] != ["v1", "services"]:
            return self._problem(404, "not_found", f"There is nothing at {path}.")
        name, verb = parts[2], parts[3]
        if name not in self.services:
            return self._problem(404, "service_not_found", f'There is no service "{name}".')
        if verb == "logs":
            return 200, self.logs.get(name, b""), "text/plain; charset=utf-8"
        if method == "POST":
            return self._act(name, verb)
        return self._json(self._now(name))

    def _act(self, name: str, verb: str) -> tuple[int, bytes, str]:
        before = self.services[name]
        if verb == "start" and before["phase"] in ("hot", "starting"):
            return self._json(before, 409)
        self.scripts[name] = list(self.after.get((name, verb), ()))
        return self._json(self._now(name), 202)

    def _now(self, name: str) -> Document:
        if script := self.scripts.get(name):
            self.services[name] = script.pop(0)
        return self.services[name]

    @staticmethod
    def _json(document: object, code: int = 200) -> tuple[int, bytes, str]:
        return code, json.dumps(document).encode(), "application/json"

    @staticmethod
    def _problem(status: int, code: str, detail: str) -> tuple[int, bytes, str]:
        body = {
            "type": f"urn:hestia:error:{code}", "title": code, "status": status, "detail": detail,
            "code": code, "error": detail,
        }  # fmt: skip
        return status, json.dumps(body).encode(), "application/problem+json"


@contextmanager
def serving(api: FakeApi) -> Iterator[FakeApi]:
    """Serve it on a free port of this machine; its `url` and `port` are set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.calls.append(f"{self.command} {self.path}")
            api.keys.append(self.headers.get("X-API-Key", ""))
            status, body, kind = api.answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name http.server looks for

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: tests read `calls`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="fake-api", kwargs={"poll_interval": 0.01})
    thread.start()
    api.port = server.server_address[1]
    api.url = f"http://127.0.0.1:{api.port}"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
