"""MemoryStore keeps the promises of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hestia.core.model import GatewayId
from hestia.core.ports import Memory, Store
from hestia.store.memory import MemoryStore
from tests.contract.store_contract import OWNER, Again, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStore]:
        store = MemoryStore()
        await store.open(OWNER)
        yield store
        await store.aclose()

    @pytest.fixture
    def again(self, store: MemoryStore) -> Again:
        async def reopen(owner: GatewayId) -> tuple[Store, Memory]:
            await store.aclose()
            return store, await store.open(owner)

        return reopen
