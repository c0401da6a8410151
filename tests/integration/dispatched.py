"""Calls of the dispatcher, and what tests of it assert in the same words."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.client import Client
from tests.fakes.wire import Response, request

URL = "/v1/requests"
JSON = ("Content-Type", "application/json")
METADATA = b"http://169.254.169.254/latest/meta-data/"
Document = dict[str, Any]  # JSON as it is sent


def call(*fields: tuple[str, str], **members: object) -> bytes:
    """A call as bytes. members: of the document, over a GET of `/echo` of service `a`."""
    document = {"serviceId": "a", "method": "GET", "path": "/echo", **members}
    return request("POST", URL, JSON, *fields, body=json.dumps(document).encode())


async def ask(client: Client, **members: object) -> Response:
    await client.send(call(**members))
    return await client.response("POST")


async def told(client: Client, **members: object) -> Document:
    """The document of an answer that the service gave."""
    response = await ask(client, **members)
    assert response.status == 200, (response.status, bytes(response.body[:500]))
    assert response.get("content-type") == b"application/json"
    assert response.get("cache-control") == b"no-store"
    document: Document = response.json()
    assert set(document) == {"status", "headers", "body"}
    return document


async def refused(client: Client, status: int, code: str, **members: object) -> str:
    """The detail of a problem."""
    detail: str = (await ask(client, **members)).problem(code, status)["detail"]
    return detail
