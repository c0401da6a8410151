"""Python's HTTP clients, each used as its users do: one JSON document of what it saw.

    python_clients.py CLIENT URL HOST BROKEN_URL BROKEN_HOST

CLIENT is requests, httpx, aiohttp, websockets, ollama or openai. HOST: what to ask for in the Host field, ""
for the one of the URL. Run by the interpreter of the real servers. Members of the document: woke, again (what
`/who` told), echoed (whether 1 MiB came back the same), events (each read as it came), socket (what the
WebSocket echoed), status and error (of the service that cannot start: what the client's own exception says).
openai asks an OpenAI-compatible server and tells chunks, end (finish reason), tokens, kind (of its error).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MEGABYTE = os.urandom(1 << 20)
TIMEOUT = 60.0
Seen = dict[str, Any]  # the JSON document


@dataclass(frozen=True)
class Route:
    """Where a service is asked for."""

    url: str
    host: str

    @property
    def fields(self) -> dict[str, str]:
        return {"Host": self.host} if self.host else {}


def events(lines: Iterable[Any]) -> Iterable[str]:
    """The data of an event stream."""
    return (line.removeprefix("data: ") for line in lines if line.startswith("data: "))


def with_requests(app: Route, broken: Route) -> Seen:
    import requests

    seen: Seen = {}
    with requests.Session() as session:
        session.headers.update(app.fields)
        seen["woke"] = session.get(f"{app.url}/who?woke", timeout=TIMEOUT).json()
        seen["again"] = session.get(f"{app.url}/who?again", timeout=TIMEOUT).json()
        back = session.post(f"{app.url}/echo", data=MEGABYTE, timeout=TIMEOUT)
        seen["echoed"] = back.content == MEGABYTE
        token = uuid.uuid4().hex
        seen["events"] = []
        with session.get(f"{app.url}/events?{token}", stream=True, timeout=TIMEOUT) as stream:
            # Bytes as they come: requests' own default collects 512 of them before it gives a line.
            for event in events(stream.iter_lines(chunk_size=1, decode_unicode=True)):
                seen["events"].append(event)
                session.get(f"{app.url}/seen?{token}", timeout=TIMEOUT)
    try:
        requests.get(f"{broken.url}/x", headers=broken.fields, timeout=TIMEOUT).raise_for_status()
    except requests.HTTPError as exc:
        if (answer := exc.response) is not None:
            seen["status"], seen["error"] = answer.status_code, f"{exc}\n{answer.text}"
    return seen


def with_httpx(app: Route, broken: Route) -> Seen:
    import httpx

    seen: Seen = {}
    with httpx.Client(base_url=app.url, headers=app.fields, timeout=TIMEOUT, trust_env=False) as client:
        seen["woke"] = client.get("/who?woke").json()
        seen["again"] = client.get("/who?again").json()
        seen["echoed"] = client.post("/echo", content=MEGABYTE).content == MEGABYTE
        token = uuid.uuid4().hex
        seen["events"] = []
        with client.stream("GET", f"/events?{token}") as stream:
            for event in events(stream.iter_lines()):
                seen["events"].append(event)
                client.get(f"/seen?{token}")
    try:
        httpx.get(f"{broken.url}/x", headers=broken.fields, timeout=TIMEOUT).raise_for_status()
    except httpx.HTTPStatusError as exc:
        seen["status"] = exc.response.status_code
        seen["error"] = f"{exc}\n{exc.response.text}"
    return seen


async def with_aiohttp(app: Route, broken: Route) -> Seen:
    import aiohttp  # type: ignore[import-not-found, unused-ignore]  # lives in the other environment

    seen: Seen = {}
    async with aiohttp.ClientSession(headers=app.fields) as client:
        for name in ("woke", "again"):
            async with client.get(f"{app.url}/who?{name}") as answer:
                seen[name] = await answer.json()
        async with client.post(f"{app.url}/echo", data=MEGABYTE) as answer:
            seen["echoed"] = await answer.read() == MEGABYTE
        token = uuid.uuid4().hex
        seen["events"] = []
        async with client.get(f"{app.url}/events?{token}") as stream:
            async for line in stream.content:
                for event in events([line.decode().strip()]):
                    seen["events"].append(event)
                    async with client.get(f"{app.url}/seen?{token}"):
                        pass
        async with client.ws_connect(f"{app.url}/socket") as socket:
            await socket.send_str("hello")
            await socket.send_bytes(MEGABYTE)
            seen["socket"] = [await socket.receive_str(), await socket.receive_bytes() == MEGABYTE]
    async with aiohttp.ClientSession(headers=broken.fields) as client:
        try:
            async with client.ws_connect(f"{broken.url}/socket"):
                pass
        except aiohttp.WSServerHandshakeError as exc:
            seen["refused"] = f"{exc.status} {exc.message}"
        async with client.get(f"{broken.url}/x") as answer:
            text = await answer.text()
            try:
                answer.raise_for_status()
            except aiohttp.ClientResponseError as exc:
                seen["status"] = exc.status
                seen["error"] = f"{exc}\n{text}"
    return seen


async def with_websockets(app: Route, broken: Route) -> Seen:
    """The handshake itself wakes the service and is held."""
    from urllib.parse import urlsplit

    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    def opening(route: Route) -> connect:
        at = urlsplit(route.url)
        name = route.host or at.netloc
        url = f"ws://{name}{at.path}/socket"
        # The name is not looked up: not every resolver knows *.localhost.
        return connect(
            url, host="127.0.0.1", port=at.port, open_timeout=TIMEOUT, max_size=1 << 21, proxy=None
        )

    seen: Seen = {}
    async with opening(app) as socket:
        await socket.send("hello")
        await socket.send(MEGABYTE)
        seen["socket"] = [await socket.recv(), await socket.recv() == MEGABYTE]
    try:
        async with opening(broken):
            pass
    except InvalidStatus as exc:
        seen["status"] = exc.response.status_code
        seen["error"] = f"{exc}\n{(exc.response.body or b'').decode()}"
    return seen


def with_ollama(app: Route, broken: Route) -> Seen:
    import ollama  # type: ignore[import-not-found, unused-ignore]  # lives in the other environment

    seen: Seen = {"events": []}
    client = ollama.Client(host=app.url, headers=app.fields, timeout=TIMEOUT, trust_env=False)
    token = uuid.uuid4().hex
    question = [{"role": "user", "content": token}]
    for part in client.chat(model="tiny", messages=question, stream=True):
        seen["events"].append(part.message.content)
        client._client.get(f"/seen?{token}")
    seen["again"] = client._client.get("/who?again").json()
    failing = ollama.Client(host=broken.url, headers=broken.fields, timeout=TIMEOUT, trust_env=False)
    try:
        failing.chat(model="tiny", messages=question)
    except ollama.ResponseError as exc:
        seen["status"] = exc.status_code
        seen["error"] = str(exc)
    return seen


def with_openai(app: Route, broken: Route) -> Seen:
    import openai  # type: ignore[import-not-found, unused-ignore]  # lives in the other environment

    def client(route: Route) -> Any:
        where = {"base_url": f"{route.url}/v1", "default_headers": route.fields}
        return openai.OpenAI(**where, api_key="none", max_retries=0, timeout=TIMEOUT)

    asked = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "a"}],
        "max_tokens": 40,
        "extra_body": {"ignore_eos": True},
    }
    choices = [chunk.choices[0] for chunk in client(app).chat.completions.create(**asked, stream=True)]
    whole = client(app).chat.completions.create(**asked)
    seen: Seen = {
        "chunks": len(choices),
        "end": choices[-1].finish_reason,
        "tokens": whole.usage.completion_tokens,
    }
    try:
        client(broken).chat.completions.create(**asked)
    except openai.APIStatusError as exc:
        # Its text is only the status since version 3; `body` is the member `error`, so our sentence.
        seen |= {"kind": type(exc).__name__, "status": exc.status_code, "error": f"{exc}\n{exc.body}"}
    return seen


def main() -> None:
    """Run one client."""
    name, *words = sys.argv[1:]
    app, broken = Route(*words[:2]), Route(*words[2:])
    plain = {"requests": with_requests, "httpx": with_httpx, "ollama": with_ollama, "openai": with_openai}
    tasks = {"aiohttp": with_aiohttp, "websockets": with_websockets}
    seen = plain[name](app, broken) if name in plain else asyncio.run(tasks[name](app, broken))
    print(json.dumps(seen))


main()
