"""What many integration tests assert in the same words."""

from __future__ import annotations

from collections.abc import Collection

from tests.fakes.client import Client
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import Response

from .harness import Gateway


async def refused(
    client: Client,
    data: bytes,
    status: int | Collection[int],
    code: str = "",
    *,
    method: str = "GET",
    closes: bool = True,
) -> Response:
    """Send bytes; they are answered by one problem, and (closes) the connection ends behind it."""
    await client.send(data)
    response = await client.response(method)
    allowed = {status} if isinstance(status, int) else set(status)
    assert response.status in allowed, (data[:200], response.status, bytes(response.body[:300]))
    assert response.complete
    if method != "HEAD":
        response.problem(code or response.json()["code"])
    if closes:
        await client.gone()
        assert client.surplus == b"", client.surplus[:300]
    return response


async def still_serves(client: Client, upstream: HttpUpstream, name: str = "a") -> None:
    """A following request on the same connection gets its own answer."""
    mark = f"/echo?mark={len(upstream.requests)}"
    response = await client.ask("GET", f"/services/{name}{mark}")
    assert response.status == 200, (response.status, response.body)
    assert response.json()["target"] == mark
    assert client.surplus == b""


async def untouched(upstream: RawUpstream, *, connections: int | None = None) -> None:
    """Nothing reached the upstream."""
    assert upstream.requests == [], upstream.targets
    if connections is not None:
        assert len(upstream.connections) == connections


async def one_sweep(gw: Gateway) -> None:
    """Wait until every deadline has been compared once more."""
    seen: list[float] = []
    edge = gw.hestia._edge
    assert edge is not None
    swept, edge._swept = edge._swept, [seen.append]
    await gw.until(lambda _: bool(seen), "a sweep")
    edge._swept = swept
