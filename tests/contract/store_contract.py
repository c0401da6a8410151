"""What every store promises; bound once per implementation.

A binding class gives two fixtures. `store`: an open store of the gateway OWNER, closed afterwards.
`again`: closes it in order and opens what it left, for OWNER or for another gateway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from hestia.core.errors import StoreUnavailable
from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
from hestia.core.ports import Intent, Kept, Memory, RequestEntry, Row, Store

OWNER: Final = GatewayId("gw")
Again = Callable[[GatewayId], Awaitable[tuple[Store, Memory]]]


def key(generation: int = 1, service: str = "ollama", gateway: str = OWNER) -> InstanceKey:
    return InstanceKey(GatewayId(gateway), ServiceId(service), InstanceId(service), generation)


def intent(generation: int = 1, service: str = "ollama", gateway: str = OWNER) -> Intent:
    return Intent(
        key=key(generation, service, gateway), engine="process", options_hash="h", episode="ep_1", at=1.0
    )


def row(number: int, service: str = "ollama", *, event: str = "StartDecided", episode: str = "") -> Row:
    return Row(
        at=float(number),
        service=service,
        instance=service,
        generation=number,
        event=event,
        before="cold",
        after="starting",
        cause="demand",
        actor="req_1",
        episode=episode,
        data={"number": number},
    )


def entry(number: int, service: str = "ollama", request_id: str = "") -> RequestEntry:
    name = request_id or f"req_{number}"
    return RequestEntry(request_id=name, at=float(number), service=service, document={"attempts": [number]})


async def numbers(store: Store, **choice: object) -> list[int]:
    """The generations of the events that are found."""
    return [found.row.generation for found in await store.events(**choice)]  # type: ignore[arg-type]  # handed on


class StoreContract:
    """The promises of `core.ports.Store`."""

    # -- generations ---------------------------------------------------------------------------

    async def test_inv6_intent_is_known_after_a_restart(self, store: Store, again: Again) -> None:
        await store.intend(intent())
        _, memory = await again(OWNER)
        assert memory.kept == (Kept(intent=intent(), state="starting"),)

    async def test_ad_01_handle_and_address_are_known_after_a_restart(
        self, store: Store, again: Again
    ) -> None:
        await store.intend(intent())
        store.handle_made(key(), {"pid": 1})
        store.handle_made(key(), {"pid": 1, "start": 2.5, "log": "x"})
        store.noted(key(), endpoint="http://127.0.0.1:1", health_url="http://127.0.0.1:1/health")
        store.noted(key(), state="hot", last_used=99.5)
        store.noted(key(), external=False)
        _, memory = await again(OWNER)
        assert memory.kept == (
            Kept(
                intent=intent(),
                state="hot",
                handle={"pid": 1, "start": 2.5, "log": "x"},
                endpoint="http://127.0.0.1:1",
                health_url="http://127.0.0.1:1/health",
                last_used=99.5,
            ),
        )

    @pytest.mark.parametrize("state", ["starting", "hot", "draining", "stopping", "failed"])
    async def test_ad_13_state_is_known_after_a_restart(self, store: Store, again: Again, state: str) -> None:
        await store.intend(intent())
        store.noted(key(), state=state)
        _, memory = await again(OWNER)
        assert [one.state for one in memory.kept] == [state]

    async def test_closed_generation_is_forgotten_and_its_number_is_not(
        self, store: Store, again: Again
    ) -> None:
        for generation in (1, 2, 3):
            await store.intend(intent(generation))
        store.closed(key(3), "stopped")
        store.closed(key(3), "stopped")
        _, memory = await again(OWNER)
        assert [one.intent.key.generation for one in memory.kept] == [1, 2]
        assert memory.generations == {(ServiceId("ollama"), InstanceId("ollama")): 3}

    async def test_intent_may_be_written_twice(self, store: Store, again: Again) -> None:
        await store.intend(intent())
        await store.intend(intent())
        _, memory = await again(OWNER)
        assert len(memory.kept) == 1

    async def test_unknown_key_is_no_error(self, store: Store, again: Again) -> None:
        store.closed(key(99), "never seen")
        store.handle_made(key(98), {})
        store.noted(key(97), state="hot")
        _, memory = await again(OWNER)
        assert memory.kept == ()

    async def test_ad_16_what_another_gateway_left_is_not_ours(self, store: Store, again: Again) -> None:
        await store.intend(intent())
        store.fact("backoff", "ollama", {"failures": 1})
        _, memory = await again(GatewayId("other"))
        assert memory == Memory()
        _, memory = await again(OWNER)
        assert [one.intent.key for one in memory.kept] == [key()]
        assert memory.facts
        assert memory.generations

    async def test_inv6_intent_after_close_is_refused(self, store: Store) -> None:
        """No start may follow an intent that was not stored."""
        await store.aclose()
        with pytest.raises(StoreUnavailable):
            await store.intend(intent(2))

    # -- facts ---------------------------------------------------------------------------------

    async def test_fb_03_facts_are_known_after_a_restart(self, store: Store, again: Again) -> None:
        store.fact("backoff", "ollama", {"failures": 1})
        store.fact("backoff", "ollama", {"failures": 2, "until": 12.5})
        store.fact("history", "ollama", {"boot": [1.0, 2.0]})
        store.fact("history", "whisper", {"boot": []})
        store.fact("history", "whisper", None)
        store.fact("history", "nobody", None)
        _, memory = await again(OWNER)
        assert memory.facts == {
            ("backoff", "ollama"): {"failures": 2, "until": 12.5},
            ("history", "ollama"): {"boot": [1.0, 2.0]},
        }

    async def test_fact_that_grows_in_the_callers_hands_is_told_each_time(
        self, store: Store, again: Again
    ) -> None:
        starts = [1.0]
        fact = {"starts": starts}
        store.fact("history", "ollama", fact)
        starts.append(2.0)
        store.fact("history", "ollama", fact)
        starts.append(3.0)
        _, memory = await again(OWNER)
        assert memory.facts == {("history", "ollama"): {"starts": [1.0, 2.0]}}

    # -- events --------------------------------------------------------------------------------

    async def test_inv9_event_comes_back_whole(self, store: Store, again: Again) -> None:
        store.append(row(7))
        assert [found.row for found in await store.events()] == [row(7)]
        reopened, _ = await again(OWNER)
        assert [found.row for found in await reopened.events()] == [row(7)]

    async def test_events_come_newest_first(self, store: Store) -> None:
        for number in range(3):
            store.append(row(number))
        assert await numbers(store) == [2, 1, 0]

    async def test_events_are_chosen(self, store: Store) -> None:
        store.append(row(1, "ollama"))
        store.append(row(2, "whisper"))
        store.append(row(3, "ollama", event="ProbePassed"))
        assert await numbers(store, service="ollama") == [3, 1]
        assert await numbers(store, instance="whisper") == [2]
        assert await numbers(store, event="ProbePassed") == [3]
        assert await numbers(store, since=2.0) == [3, 2]
        assert await numbers(store, until=2.0) == [1]
        assert await numbers(store, service="nobody") == []

    @pytest.mark.parametrize(("limit", "count"), [(0, 0), (1, 1), (2, 2), (100, 5)])
    async def test_events_are_limited_after_choosing(self, store: Store, limit: int, count: int) -> None:
        for number in range(5):
            store.append(row(number, "ollama"))
            store.append(row(number, "whisper"))
        assert len(await numbers(store, service="ollama", limit=limit)) == count

    async def test_pages_have_every_event_once(self, store: Store, again: Again) -> None:
        for number in range(10):
            store.append(row(number))
        reopened, _ = await again(OWNER)
        for number in range(10, 25):
            reopened.append(row(number))
        seen: list[int] = []
        before: int | None = None
        while page := await reopened.events(before=before, limit=4):
            seen += [found.row.generation for found in page]
            before = page[-1].id
        assert seen == list(reversed(range(25)))

    async def test_episode_comes_in_order(self, store: Store) -> None:
        store.append(row(1, episode="ep_1"))
        store.append(row(2, episode="ep_2"))
        store.append(row(3, episode="ep_1"))
        assert [found.row.generation for found in await store.episode("ep_1")] == [1, 3]
        assert await store.episode("ep_9") == []
        assert await store.episode("") == []

    # -- requests ------------------------------------------------------------------------------

    async def test_request_comes_back_whole(self, store: Store, again: Again) -> None:
        store.record(entry(1))
        store.record(entry(2))
        for reopen in (False, True):
            one = (await again(OWNER))[0] if reopen else store
            found = await one.request("req_1")
            assert found is not None
            assert found.id
            assert (found.request_id, found.at, found.service) == ("req_1", 1.0, "ollama")
            assert found.document == {"attempts": [1]}
            assert await one.request("req_9") is None
            assert await one.request("") is None

    async def test_id_that_came_twice_is_the_newest(self, store: Store) -> None:
        store.record(entry(1, request_id="mine"))
        store.record(entry(2, request_id="mine"))
        found = await store.request("mine")
        assert found is not None
        assert found.at == 2.0

    async def test_requests_are_chosen_and_paged(self, store: Store) -> None:
        for number in range(6):
            store.record(entry(number, "ollama" if number % 2 else "whisper"))
        assert [one.at for one in await store.requests()] == [5, 4, 3, 2, 1, 0]
        first = await store.requests(service="ollama", limit=2)
        assert [one.at for one in first] == [5, 3]
        rest = await store.requests(service="ollama", before=first[-1].id)
        assert [one.at for one in rest] == [1]
        assert [one.at for one in await store.requests(since=2.0, until=4.0)] == [3, 2]

    # -- the end -------------------------------------------------------------------------------

    async def test_close_twice_is_fine_and_late_calls_do_no_harm(self, store: Store, again: Again) -> None:
        await store.intend(intent())
        await store.aclose()
        store.append(row(1))
        store.record(entry(1))
        store.fact("backoff", "late", {})
        store.noted(key(), state="hot")
        store.handle_made(key(), {"pid": 1})
        store.closed(key(), "late")
        await store.aclose()
        _, memory = await again(OWNER)
        assert memory == Memory(
            kept=(Kept(intent=intent(), state="starting"),),
            generations={(ServiceId("ollama"), InstanceId("ollama")): 1},
        )

    async def test_nothing_is_the_matter_with_a_store_that_works(self, store: Store) -> None:
        await store.intend(intent())
        assert store.trouble == ""
