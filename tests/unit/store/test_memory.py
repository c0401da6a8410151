"""What MemoryStore does beyond the contract: its bound, and what it shows of open generations."""

from __future__ import annotations

from hestia.store.memory import MemoryStore
from tests.contract.store_contract import OWNER, intent, key, numbers, row


async def test_oldest_rows_go_first() -> None:
    store = MemoryStore(limit=3)
    await store.open(OWNER)
    for number in range(10):
        store.append(row(number))
    assert await numbers(store) == [9, 8, 7]


async def test_generations_are_kept_until_they_are_closed() -> None:
    store = MemoryStore()
    await store.open(OWNER)
    await store.intend(intent(1))
    await store.intend(intent(2))
    store.handle_made(key(2), {"pid": 7})
    assert set(store.kept) == {key(1), key(2)}
    assert store.kept[key(2)].handle == {"pid": 7}
    store.closed(key(2), "stopped")
    assert set(store.kept) == {key(1)}
