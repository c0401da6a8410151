"""SqliteStore keeps the promises of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.model import GatewayId
from hestia.core.ports import Memory, Store
from hestia.store.database import Database
from hestia.store.sqlite import SqliteStore
from tests.contract.store_contract import OWNER, Again, StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def opened(self) -> AsyncIterator[list[SqliteStore]]:
        opened: list[SqliteStore] = []
        yield opened
        for store in opened:
            await store.aclose()

    @pytest.fixture
    async def store(self, tmp_path: Path, opened: list[SqliteStore]) -> SqliteStore:
        store = SqliteStore(Database(tmp_path / "hestia.db"))
        opened.append(store)
        await store.open(OWNER)
        return store

    @pytest.fixture
    def again(self, tmp_path: Path, opened: list[SqliteStore]) -> Again:
        async def reopen(owner: GatewayId) -> tuple[Store, Memory]:
            await opened[-1].aclose()
            store = SqliteStore(Database(tmp_path / "hestia.db"))
            opened.append(store)
            return store, await store.open(owner)

        return reopen
