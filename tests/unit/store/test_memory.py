"""What MemoryStore does beyond the contract: its bound, and what it shows of open intents."""

from __future__ import annotations

from hestia.store.memory import MemoryStore
from tests.contract.store_contract import intent, key, row


def test_oldest_rows_go_first() -> None:
    store = MemoryStore(limit=3)
    for number in range(10):
        store.append(row(number))
    assert [found.generation for found in store.rows()] == [9, 8, 7]


async def test_intents_are_open_until_their_generation_is_closed() -> None:
    store = MemoryStore()
    await store.intend(intent(1))
    await store.intend(intent(2))
    store.handle_made(key(2), {"pid": 7})
    assert set(store.intents) == {key(1), key(2)}
    assert store.handles == {key(2): {"pid": 7}}
    store.closed(key(2), "stopped")
    assert set(store.intents) == {key(1)}
    assert store.handles == {}
