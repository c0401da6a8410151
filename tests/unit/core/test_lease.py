"""Leases and use counters: granted only while hot, given back exactly once, whatever the order (QF-09)."""

from __future__ import annotations

import pytest

from hestia.core import effects as fx
from hestia.core.lease import Lease, Use
from hestia.core.lifecycle import State
from tests.fakes.runtime import A, B, PaperRuntime, hot, service


def use_of(runtime: PaperRuntime) -> Use:
    use = runtime.slot().use
    assert use is not None
    return use


def take(runtime: PaperRuntime) -> Lease:
    lease = runtime.acquire()
    assert lease is not None
    return lease


def test_inv3_open_leases_are_those_granted_less_those_released() -> None:
    runtime = hot()
    leases = [take(runtime) for _ in range(3)]
    runtime.release(leases[1])
    assert (use_of(runtime).open, use_of(runtime).granted) == (2, 3)
    assert runtime.world.statistics().in_flight == 2


def test_qf09_a_release_counts_once_however_often_it_is_called() -> None:
    runtime = hot(max_in_flight=1)
    lease = take(runtime)
    for _ in range(3):
        runtime.release(lease)
    first, second = runtime.acquire(), runtime.acquire()
    assert first is not None
    assert second is None


def test_a_release_asks_for_a_look_only_where_somebody_waits_or_drains() -> None:
    """The hot path stays two plain calls."""
    runtime = hot(max_in_flight=2)
    idle, queued = take(runtime), take(runtime)
    assert not runtime.world.release(idle, runtime.now)
    take(runtime)
    runtime.join()
    assert runtime.world.release(queued, runtime.now)
    assert not runtime.world.release(queued, runtime.now)


@pytest.mark.parametrize("how", ["stop", "force", "crash", "idle"])
def test_inv3_no_lease_is_granted_from_the_decision_to_stop_on(how: str) -> None:
    runtime = hot(idle_timeout=60.0)
    match how:
        case "stop":
            take(runtime)
            runtime.stop()
        case "force":
            runtime.stop(force=True)
        case "crash":
            runtime.gone()
        case "idle":
            runtime.pass_time(60.0)
    assert not use_of(runtime).room
    assert runtime.acquire() is None
    with pytest.raises(AssertionError, match="INV-3"):
        use_of(runtime).grant()


def test_qf02_max_in_flight_is_a_cap_per_instance() -> None:
    runtime = PaperRuntime(service(A, B, max_in_flight=2, warm_concurrency=2))
    for name in (A, B):
        guest = runtime.join(name)
        runtime.ready(runtime.start_of(name))
        runtime.release(guest.lease)
    taken = [runtime.acquire() for _ in range(5)]
    assert [lease.use.key.instance if lease else None for lease in taken] == [A, A, B, B, None]


def test_qf02_until_the_first_success_only_warm_concurrency() -> None:
    runtime = PaperRuntime(service(warm_concurrency=2))
    runtime.start()
    runtime.ready()
    leases = [runtime.acquire() for _ in range(3)]
    assert [lease is not None for lease in leases] == [True, True, False]
    assert leases[0] is not None
    runtime.succeeded(leases[0])
    assert runtime.acquire() is not None


def test_the_first_candidate_with_room_is_taken_in_the_order_given() -> None:
    runtime = PaperRuntime(service(A, B))
    for name in (A, B):
        guest = runtime.join(name)
        runtime.ready(runtime.start_of(name))
        runtime.release(guest.lease)
    lease = runtime.acquire(B, A)
    assert lease is not None
    assert lease.use.key.instance == B
    assert lease.endpoint is lease.use.endpoint


def test_rd12_endpoint_and_counters_belong_to_one_generation() -> None:
    runtime = hot()
    old = take(runtime)
    runtime.gone()
    runtime.stopped()
    guest = runtime.join()
    runtime.ready()
    assert guest.lease.endpoint != old.endpoint
    runtime.release(old)
    assert use_of(runtime).open == 1
    assert use_of(runtime).key.generation == 2


def test_sockets_are_counted_while_they_are_open() -> None:
    runtime = hot()
    lease = take(runtime)
    for _ in range(2):
        lease.became_socket()
    assert use_of(runtime).sockets == 1
    runtime.release(lease)
    assert use_of(runtime).sockets == 0


def test_a_lease_that_was_given_back_becomes_no_socket() -> None:
    """An upgrade that completes after its exchange was aborted must not count for ever."""
    runtime = hot()
    lease = take(runtime)
    runtime.release(lease)
    lease.became_socket()
    assert use_of(runtime).sockets == 0


def test_inv4_a_forced_stop_aborts_what_is_open_before_it_asks_the_engine() -> None:
    runtime = hot()
    leases = [take(runtime) for _ in range(2)]
    runtime.stop(force=True)
    kinds = [type(effect) for effect in runtime.effects]
    order = [kinds.index(kind) for kind in (fx.EndpointClosed, fx.AbortLeases, fx.RunStop)]
    assert order == sorted(order)
    assert set(runtime.aborted) == set(leases)
    assert runtime.moves[-1].forced
    assert runtime.moves[-1].open_leases == 2
    assert runtime.state() is State.STOPPING


def test_inv10_at_rest_all_counts_are_zero() -> None:
    runtime = hot()
    take(runtime)
    runtime.stop(force=True)
    runtime.stopped()
    counts = runtime.world.statistics()
    assert (counts.queued, counts.in_flight, counts.hot, counts.starting) == (0, 0, 0, 0)
