"""MemoryStore keeps the promises of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hestia.store.memory import MemoryStore
from tests.contract.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStore]:
        store = MemoryStore()
        yield store
        await store.aclose()
