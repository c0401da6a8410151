"""Plays a recorded conversation with a Semaphore server to another one and compares every answer.

Owns the translation of ids and placeholders and the comparison; what brings a task into the state that was
recorded is the target's. Form of the recordings: the README beside them.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

import httpx
from websockets.asyncio.client import ClientConnection, connect

Json = Any  # a recorded or a live document

KINDS: Final = {  # the word of a path to the kind of the id behind it
    "project": "project",
    "projects": "project",
    "templates": "template",
    "tasks": "task",
    "keys": "key",
    "repositories": "repository",
    "inventory": "inventory",
    "environment": "environment",
    "users": "user",
}
KEYS: Final = {  # the key of a document to the kind of the id it holds
    "project_id": "project",
    "template_id": "template",
    "task_id": "task",
    "ssh_key_id": "key",
    "become_key_id": "key",
    "repository_id": "repository",
    "inventory_id": "inventory",
    "environment_id": "environment",
    "user_id": "user",
}
VOLATILE: Final = frozenset(
    {"created", "start", "end", "time", "output", "ansible", "version", "web_host", "git_client", "tasks"}
    | {"schedule_timezone", "max_parallel_tasks", "active", "user_name", "dark_color", "icon", "title"}
)  # fmt: skip
MOMENTARY: Final = frozenset({"start", "end"})  # null or set: a matter of milliseconds
FINAL: Final = frozenset({"success", "error", "stopped"})


class Target(Protocol):
    """A server that can be talked to, furnished like the recorded one. ids: recorded to own, by kind."""

    url: str
    token: str
    ids: dict[str, dict[int, int]]
    words: dict[str, str]

    async def reach(self, task_id: int, status: str | None, *, ended: bool) -> None:
        """Bring a task into a state, or wait until it is there. None: any. ended: `end` has to be set."""

    async def happens(self, note: str) -> None:
        """What the recorder did to the server at this point."""


class Player:
    """One scenario against one target. Raises AssertionError with every difference of an answer."""

    def __init__(self, target: Target, scenario: Json) -> None:
        self._target = target
        self._scenario = scenario
        self._omits = not scenario["version"].startswith("v2.10")  # leaves empty fields out
        self._ids: dict[str, dict[int, int]] = defaultdict(dict, {k: dict(v) for k, v in target.ids.items()})
        self._words = dict(target.words)
        self._passwords: dict[str, str] = {}
        self._messages: dict[str, int] = {}

    async def play(self) -> None:
        """From the first exchange to the last frame."""
        entries = self._scenario["exchanges"]
        streams = [entry for entry in entries if "websocket" in entry]
        async with AsyncExitStack() as stack:
            self._http = await stack.enter_async_context(client(self._target.url))
            stream = await stack.enter_async_context(self._listen(streams[0])) if streams else None
            for number, entry in enumerate(entries):
                if "request" in entry:
                    await self._exchange(number, entry)
                elif "note" in entry:
                    await self._remark(entry)
            if stream is not None:
                await self._compare_frames(stream, streams[0]["events"])

    def _listen(self, entry: Json) -> connect:
        """The event stream; all it says is kept until it is asked for."""
        address = self._target.url.replace("http", "ws", 1) + entry["websocket"]
        bearer = {"Authorization": f"Bearer {self._target.token}"}
        return connect(address, additional_headers=bearer, max_queue=None)

    async def _remark(self, entry: Json) -> None:
        for message, status in entry.get("statuses", {}).items():
            if message in self._messages:
                await self._target.reach(self._messages[message], status, ended=False)
        await self._target.happens(entry["note"])

    async def _exchange(self, number: int, entry: Json) -> None:
        asked, answered = entry["request"], entry["response"]
        await self._target.happens(entry.get("note") or "")
        await self._bring_about(asked, answered["status"], answered.get("body"))
        where = f"{self._scenario['scenario']}[{number}] {asked['method']} {asked['path']}"
        try:
            answer = await self._ask(asked)
        except httpx.TransportError:
            assert answered["status"] is None, f"{where}: no answer"
            return
        assert answer.status_code == answered["status"], f"{where}: {answer.status_code}, {answer.text[:200]}"
        wrong = list(self._differences(entry, answer))
        assert not wrong, f"{where}:\n" + "\n".join(wrong)

    async def _bring_about(self, asked: Json, status: int | None, body: Json) -> None:
        """Bring the tasks into the states that the recorded answer shows, or lets suppose."""
        if "/tasks" not in asked["path"]:
            return
        if asked["method"] == "DELETE" and "/project/" in asked["path"] and status in (204, 401):
            known = self._ids["task"].get(int(asked["path"].rsplit("/", 1)[1]))
            if known:  # it had come to its end by then
                await self._target.reach(known, None, ended=True)
        if asked["method"] != "GET":
            return
        for shown in body if isinstance(body, list) else [body]:
            if not isinstance(shown, dict) or shown.get("status") in (None, "starting"):
                continue  # `starting` is over before anybody could wait for it
            if known := self._ids["task"].get(shown.get("task_id") or shown["id"]):
                ended = shown["status"] in FINAL and bool(shown.get("end"))
                await self._target.reach(known, shown["status"], ended=ended)

    async def _ask(self, asked: Json) -> httpx.Response:
        body = asked["body"]
        if "users" in asked["path"] and isinstance(body, dict) and "password" in body:
            self._passwords[body["username"]] = body["password"]
        kind = self._kind(asked["path"])
        content = b""
        if isinstance(body, str):
            content = body.encode()
        elif body is not None:
            content = json.dumps(self._own(body, kind)).encode()
        fields = {name: (await self._word(value)).strip() for name, value in asked["headers"].items()}
        return await self._http.request(
            asked["method"], await self._word(self._path(asked["path"])), content=content, headers=fields
        )

    async def _word(self, text: str) -> str:
        """A text with its placeholders filled in; a user's token is fetched when it is first needed."""
        for name in re.findall(r"<token of (\w+)>", text):
            if f"<token of {name}>" not in self._words:
                self._words[f"<token of {name}>"] = await new_token(
                    self._target.url, name, self._passwords[name]
                )
        text = text.replace("<TOKEN IN UPPER CASE>", self._words.get("<token>", "").upper())
        for placeholder, value in self._words.items():
            text = text.replace(placeholder, value)
        return text

    # ids

    def _kind(self, path: str) -> str:
        """What the `id` in a body belongs to: the last kind that the path names."""
        named = [KINDS[piece] for piece in path.partition("?")[0].split("/") if piece in KINDS]
        return named[-1] if named else ""

    def _path(self, path: str) -> str:
        def own(match: re.Match[str]) -> str:
            found = self._ids[KINDS[match[1]]].get(int(match[2]), int(match[2]))
            return f"{match[1]}/{found}"

        return re.sub(rf"\b({'|'.join(KINDS)})/(\d+)", own, path)

    def _own(self, body: Json, kind: str) -> Json:
        """A recorded body with the ids and placeholders of this server."""
        if isinstance(body, dict):
            return {
                key: self._own(value, KEYS.get(key, kind if key == "id" else ""))
                for key, value in body.items()
            }
        if isinstance(body, list):
            return [self._own(one, kind) for one in body]
        if isinstance(body, str):
            for placeholder, value in self._words.items():
                body = body.replace(placeholder, value)
        if isinstance(body, int) and not isinstance(body, bool) and kind:
            return self._ids[kind].get(body, body)
        return body

    def _learn(self, entry: Json, document: Json) -> None:
        """Bind what an answer to a POST has made."""
        asked, recorded = entry["request"], entry["response"]["body"]
        if asked["method"] != "POST" or entry["response"]["status"] != 201 or not isinstance(recorded, dict):
            return
        if isinstance(recorded["id"], str):
            self._words[recorded["id"]] = document["id"]
            return
        self._ids[self._kind(asked["path"])][recorded["id"]] = document["id"]
        if asked["body"].get("message"):
            self._messages[asked["body"]["message"]] = document["id"]

    # comparing

    def _differences(self, entry: Json, answer: httpx.Response) -> Iterator[str]:
        recorded = entry["response"]
        for name in ("Content-Type", "Location", "X-Content-Type-Options"):
            if recorded["headers"].get(name) != answer.headers.get(name):
                yield f"{name}: {answer.headers.get(name)}, recorded {recorded['headers'].get(name)}"
        if "Set-Cookie" in recorded["headers"]:
            yield from self._cookie(recorded["headers"]["Set-Cookie"], answer.headers.get("Set-Cookie", ""))
        body = recorded.get("body")
        if body is None or isinstance(body, str):
            if (body or "") != answer.text and not entry["request"]["path"].endswith("raw_output"):
                yield f"body: {answer.text!r}, recorded {body!r}"
            return
        document = answer.json()
        self._learn(entry, document)
        loose = bool(entry.get("excerpt")) and isinstance(body, list)
        if entry.get("excerpt") and isinstance(body, dict):
            document = {key: document[key] for key in body if key in document}
        if "cut_to_1_of" in entry:
            document = document[:1]
            loose = True
        yield from self._compare(body, document, "body", self._kind(entry["request"]["path"]), loose=loose)

    def _cookie(self, recorded: str, sent: str) -> Iterator[str]:
        """Only what stands beside the value and a date is compared."""
        value = re.match(r"semaphore=([^;]*)", sent)
        if value is None or re.sub(r"=[^;/]*", "=", sent) != re.sub(r"=[^;/]*", "=", recorded):
            yield f"Set-Cookie: {sent}, recorded {recorded}"
        elif value[1]:
            self._words["<session-cookie>"] = value[1]

    def _compare(self, recorded: Json, live: Json, at: str, kind: str, *, loose: bool) -> Iterator[str]:
        """Differences of keys, types and values. loose: the recorded document was cut or tells of others."""
        if isinstance(recorded, dict) and isinstance(live, dict):
            yield from self._objects(recorded, live, at, kind, loose=loose)
        elif isinstance(recorded, list) and isinstance(live, list):
            loose = loose or len(recorded) != len(live)
            if recorded and not live and not at.endswith("output"):
                yield f"{at}: empty, recorded {len(recorded)} entries"
            for number, (one, other) in enumerate(zip(recorded[: 1 if loose else None], live, strict=False)):
                yield from self._compare(one, other, f"{at}[{number}]", kind, loose=loose)
        elif type(recorded) is not type(live):
            if not (loose and None in (recorded, live)):
                yield f"{at}: {live!r}, recorded {recorded!r}"
        elif not loose and recorded != live and "<" not in str(recorded):
            yield f"{at}: {live!r}, recorded {recorded!r}"

    def _objects(self, recorded: Json, live: Json, at: str, kind: str, *, loose: bool) -> Iterator[str]:
        for key in recorded.keys() ^ live.keys():
            if key not in MOMENTARY and not (loose and self._omits):
                yield f"{at}: key {key} {'missing' if key in recorded else 'is not recorded'}"
        for key in recorded.keys() & live.keys():
            one, other, inner = recorded[key], live[key], f"{at}.{key}"
            of = KEYS.get(key, kind if key == "id" else "")
            if key in MOMENTARY and None in (one, other):
                continue
            if of and isinstance(one, int) and isinstance(other, int):
                if not loose and one in self._ids[of] and self._ids[of][one] != other:
                    yield f"{inner}: {other}, recorded {one} is {self._ids[of][one]} here"
                continue
            if key == "status" and ((one == "stopping" and other in FINAL) or one == "starting"):
                continue  # over before it could be looked at
            values = loose or key in VOLATILE or of != "" or key == "id"
            yield from self._compare(one, other, inner, "key" if key == "secrets" else kind, loose=values)

    async def _compare_frames(self, stream: ClientConnection, events: Json) -> None:
        """The states that the stream told, task by task, and what its messages look like."""
        recorded = [event["data"] for event in events]
        expected = {self._ids["task"][one["task_id"]]: _told(recorded, one["task_id"]) for one in recorded}
        frames: list[Json] = []
        async with asyncio.timeout(30):
            while any(len(_told(frames, task)) < len(told) for task, told in expected.items()):
                frames.append(json.loads(await stream.recv()))
        assert {task: _told(frames, task) for task in expected} == expected
        shapes = {one["type"]: sorted(one) for one in recorded}
        for one in frames:
            assert sorted(one) == shapes.get(one["type"], sorted(one))


def _told(frames: list[Json], task: int) -> list[tuple[str, bool, bool]]:
    """The updates of one task: status, whether started, whether ended."""
    return [
        (one["status"], one["start"] is not None, one["end"] is not None)
        for one in frames
        if one["type"] == "update" and one["task_id"] == task
    ]


def client(url: str, token: str = "") -> httpx.AsyncClient:
    """A client of one server. No trust store is read, which takes longer than most exchanges."""
    fields = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=url, headers=fields, verify=False)


async def new_token(url: str, login: str, password: str) -> str:
    """Log in and make an API token."""
    async with client(url) as http:
        answer = await http.post("/api/auth/login", json={"auth": login, "password": password})
        assert answer.status_code == 204, answer.text
        return str((await http.post("/api/user/tokens")).json()["id"])
