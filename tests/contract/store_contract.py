"""What every store promises; bound once per implementation.

A binding class gives a fixture `store`: an open store, closed afterwards.
"""

from __future__ import annotations

import pytest

from hestia.core.errors import StoreUnavailable
from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
from hestia.core.ports import Intent, Row, Store


def key(generation: int = 1, service: str = "ollama") -> InstanceKey:
    return InstanceKey(GatewayId("gw"), ServiceId(service), InstanceId(service), generation)


def intent(generation: int = 1) -> Intent:
    return Intent(key=key(generation), engine="process", options_hash="h", episode="ep_1", at=1.0)


def row(number: int, service: str = "ollama") -> Row:
    return Row(
        at=float(number),
        service=service,
        instance=service,
        generation=number,
        event="StartDecided",
        before="cold",
        after="starting",
        cause="demand",
        actor="req_1",
        data={"number": number},
    )


class StoreContract:
    """The promises of `core.ports.Store`."""

    async def test_rows_come_newest_first(self, store: Store) -> None:
        for number in range(3):
            store.append(row(number))
        assert [found.generation for found in store.rows()] == [2, 1, 0]

    async def test_row_comes_back_whole(self, store: Store) -> None:
        store.append(row(7))
        assert store.rows() == [row(7)]

    async def test_rows_of_one_service_only(self, store: Store) -> None:
        store.append(row(1, "ollama"))
        store.append(row(2, "whisper"))
        store.append(row(3, "ollama"))
        assert [found.generation for found in store.rows(service="ollama")] == [3, 1]
        assert store.rows(service="nobody") == []

    @pytest.mark.parametrize(("limit", "count"), [(0, 0), (1, 1), (2, 2), (100, 5)])
    async def test_rows_are_limited_after_choosing_the_service(
        self, store: Store, limit: int, count: int
    ) -> None:
        for number in range(5):
            store.append(row(number, "ollama"))
            store.append(row(number, "whisper"))
        assert len(store.rows(service="ollama", limit=limit)) == count

    async def test_intent_may_be_written_twice(self, store: Store) -> None:
        await store.intend(intent())
        await store.intend(intent())

    async def test_handle_and_end_of_a_generation_are_taken(self, store: Store) -> None:
        await store.intend(intent())
        store.handle_made(key(), {"pid": 1, "start": 2.5})
        store.handle_made(key(), {"pid": 1, "start": 2.5, "log": "x"})
        store.closed(key(), "stopped")
        store.closed(key(), "stopped")

    async def test_unknown_key_is_no_error(self, store: Store) -> None:
        store.closed(key(99), "never seen")
        store.handle_made(key(98), {})

    async def test_inv6_intent_after_close_is_refused(self, store: Store) -> None:
        """No start may follow an intent that was not stored."""
        await store.aclose()
        with pytest.raises(StoreUnavailable):
            await store.intend(intent(2))

    async def test_close_twice_is_fine_and_late_rows_do_no_harm(self, store: Store) -> None:
        await store.aclose()
        store.append(row(1))
        store.closed(key(), "late")
        await store.aclose()
