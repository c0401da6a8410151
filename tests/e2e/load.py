"""Clients that ask a gateway without a pause while something happens to it, and note every failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.wire import request


class Load:
    """Some ask over one connection (`keep`), some over a new one each time."""

    def __init__(self, port: int, *, keep: bool = True) -> None:
        self.port = port
        self.keep = keep
        self.answers = 0
        self.errors: list[str] = []
        self._over = False

    async def kept(self, method: str) -> None:
        """One connection for as long as the gateway lets it live, then the next."""
        while not self._over:
            async with self._connected() as client:
                while await self._ask(client, method) and not self._over:
                    pass

    async def fresh(self, method: str) -> None:
        """A connection for each request."""
        while not self._over:
            async with self._connected() as client:
                await self._ask(client, method)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        try:
            client = await Client.connect(("127.0.0.1", self.port))
        except OSError as exc:
            self.errors.append(repr(exc))
            self._over = True
            raise
        try:
            yield client
        finally:
            await client.close()

    async def _ask(self, client: Client, method: str) -> bool:
        """One request; whether the connection may serve another one."""
        try:
            await client.send(
                request(method, "/services/a/x", body=b"x" * 3000 if method == "POST" else None)
            )
            response = await client.response(method)
            assert response.complete, "the answer is whole"
            assert response.status == 200, bytes(response.body)[:200]
        except Exception as exc:  # whatever it is, it is what the test is about
            self.errors.append(f"{method} after {self.answers}: {exc!r}")
            self._over = True
            return False
        self.answers += 1
        return (response.get("connection") or b"").lower() != b"close"

    async def more(self, count: int) -> None:
        """Wait until `count` more answers have come, or an error."""
        wanted = self.answers + count
        await eventually(
            lambda: bool(self.errors) or self.answers >= wanted, lambda: f"{wanted} answers: {self.answers}"
        )

    @contextlib.asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """Ask while the block runs."""
        async with asyncio.TaskGroup() as group:
            for method in ("GET", "POST", "GET"):
                if self.keep:
                    group.create_task(self.kept(method))
                group.create_task(self.fresh(method))
            try:
                yield
            finally:
                self._over = True
