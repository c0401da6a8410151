"""One FIFO per service: order, bounds, leaving, the warm-up gate (QF)."""

from __future__ import annotations

import pytest

from hestia.core import effects as fx
from hestia.core.errors import Dormant, QueueFull
from hestia.core.lifecycle import State
from hestia.core.model import Backoff
from hestia.core.queue import Queue, Waiter
from tests.fakes.runtime import A, B, Guest, PaperRuntime, hot, service


def a_waiter(deadline: float = 10.0) -> Waiter:
    return Waiter((A,), lambda outcome: None, arrived=0.0, deadline=deadline)


# -- the queue alone ---------------------------------------------------------------------------


def test_places_are_in_order_of_arrival_and_never_reused() -> None:
    queue, waiters = Queue(), [a_waiter() for _ in range(3)]
    for waiter in waiters:
        queue.join(waiter)
    assert list(queue) == waiters
    assert [queue.position(waiter) for waiter in waiters] == [0, 1, 2]
    assert queue.leave(waiters[0])
    assert not queue.leave(waiters[0])
    late = a_waiter()
    queue.join(late)
    assert late.number == 4
    assert queue.first is waiters[1]
    assert queue.position(late) == 2


def test_leaving_while_somebody_iterates_is_safe() -> None:
    queue = Queue()
    for _ in range(3):
        queue.join(a_waiter())
    for waiter in queue:
        queue.leave(waiter)
    assert len(queue) == 0
    assert queue.first is None
    assert queue.next_deadline is None


def test_the_next_deadline_is_the_soonest_not_the_first() -> None:
    queue = Queue()
    for deadline in (30.0, 10.0, 20.0):
        queue.join(a_waiter(deadline))
    assert queue.next_deadline == 10.0


def test_a_queue_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match="len"):
        bool(Queue())


# -- the queue of a service --------------------------------------------------------------------


def served_in_order(runtime: PaperRuntime, guests: list[Guest]) -> list[int]:
    """Serve one after the other; the numbers in the order in which they were granted."""
    order: list[int] = []
    while len(order) < len(guests):
        (granted,) = [n for n, guest in enumerate(guests) if guest.outcome and n not in order]
        order.append(granted)
        runtime.release(guests[granted].lease)
    return order


def test_qf01_the_order_holds_across_a_failed_attempt_and_another_instance() -> None:
    runtime = PaperRuntime(service(A, B, max_in_flight=1))
    guests = [runtime.join() for _ in range(100)]
    runtime.fails()
    runtime.ready(runtime.start_of(B))
    assert served_in_order(runtime, guests) == list(range(100))


def test_qf01_the_order_holds_across_generations() -> None:
    runtime = PaperRuntime(service(max_in_flight=1))
    guests = [runtime.join() for _ in range(4)]
    runtime.ready()
    runtime.release(guests[0].lease)
    runtime.gone()
    runtime.stopped()
    late = runtime.join()
    runtime.ready()
    runtime.release(guests[1].lease)  # it ended with its generation
    assert served_in_order(runtime, [*guests[2:], late]) == [0, 1, 2]


def test_qf01_whoever_was_failed_by_an_instance_is_served_first_when_it_works_after_all() -> None:
    """A failed attempt sends nobody to the back."""
    runtime = PaperRuntime(service(A, B, max_in_flight=1, restart_backoff=Backoff(intensity=9)))
    early = runtime.join(A, B)
    runtime.fails()
    late = runtime.join(A, B)
    runtime.found(A)
    assert early.lease.use.key.instance == A
    assert late.outcome is None


def test_qf01_a_freed_instance_takes_the_first_waiter_that_may_use_it() -> None:
    """T-CQ-15."""
    runtime = hot(A, B, max_in_flight=1)
    lease = runtime.acquire()
    assert lease is not None
    only_b, only_a = runtime.join(B), runtime.join(A)
    runtime.release(lease)
    assert only_b.outcome is None
    assert only_a.lease.use.key.instance == A


def test_a_newcomer_never_overtakes_the_queue() -> None:
    runtime = hot(max_in_flight=1)
    lease = runtime.acquire()
    assert lease is not None
    overtaken: list[object] = []
    first = runtime.join(reaction=lambda guest: overtaken.append(runtime.acquire()))
    second = runtime.join()
    runtime.release(lease)
    assert first.lease
    assert overtaken == [None]
    assert second.outcome is None


def test_qf02_a_herd_is_let_in_one_by_one_until_the_first_success() -> None:
    runtime = PaperRuntime()
    guests = [runtime.join() for _ in range(10)]
    runtime.ready()
    assert [len(guest.outcomes) for guest in guests] == [1] + [0] * 9
    runtime.succeeded(guests[0].lease)
    assert [len(guest.outcomes) for guest in guests] == [1] * 10


def test_qf02_a_slow_first_answer_delays_the_others_by_two_seconds_at_most() -> None:
    runtime = PaperRuntime()
    guests = [runtime.join() for _ in range(10)]
    runtime.ready()
    runtime.pass_time(1.9)
    assert guests[1].outcome is None
    runtime.pass_time(0.1)
    assert all(guest.lease for guest in guests)


def test_qf02_never_more_than_max_in_flight_at_once() -> None:
    runtime = PaperRuntime(service(max_in_flight=4))
    guests = [runtime.join() for _ in range(1000)]
    runtime.ready()
    runtime.succeeded(guests[0].lease)
    for number, guest in enumerate(guests):
        assert runtime.world.statistics().in_flight == min(4, 1000 - number)
        runtime.release(guest.lease)


def test_qf03_a_full_queue_refuses_at_once_and_names_the_key() -> None:
    runtime = PaperRuntime(service(queue_size=2))
    guests = [runtime.join() for _ in range(2)]
    effects = len(runtime.effects)
    with pytest.raises(QueueFull, match="queue_size is 2") as told:
        runtime.join()
    assert told.value.retry_after
    assert told.value.retry_after >= 1.0
    assert "services.s.queue_size" in told.value.remedy
    assert len(runtime.effects) == effects
    runtime.leave(guests[0])
    runtime.join()


def test_qf04_a_thousand_waiters_leave_and_nothing_starts_afterwards() -> None:
    runtime = PaperRuntime()
    guests = [runtime.join() for _ in range(1000)]
    runtime.fails(again=True)
    for guest in guests:
        runtime.leave(guest)
    runtime.pass_time(3600.0)
    assert runtime.world.statistics().queued == 0
    assert runtime.count(fx.RunStart) == 1
    assert runtime.state() is State.FAILED
    assert runtime.timers == {}


def test_qf04_a_lease_granted_in_the_tick_of_leaving_is_returned() -> None:
    runtime = PaperRuntime(service(warm_concurrency=2))
    guests: list[Guest] = []
    guests.append(runtime.join(reaction=lambda guest: runtime.leave(guests[1])))
    guests.append(runtime.join())
    third = runtime.join()
    runtime.ready()
    assert guests[1].outcomes == []
    assert third.lease, "its place went to the next"
    assert runtime.world.statistics().in_flight == 2


def test_qf11_a_client_that_gives_up_and_retries_joins_the_running_start() -> None:
    runtime = PaperRuntime()
    for _ in range(4):
        guest = runtime.join(patience=2.0)
        runtime.pass_time(1.9)
        runtime.leave(guest)
    last = runtime.join(patience=2.0)
    runtime.ready()
    assert last.lease
    assert runtime.count(fx.RunStart) == 1


# -- requests that wake nothing ----------------------------------------------------------------


def test_cq_11_a_quiet_waiter_is_refused_while_nothing_is_hot() -> None:
    runtime = PaperRuntime()
    guest = runtime.join(quiet=True)
    assert isinstance(guest.error, Dormant)
    assert guest.error.retry_after
    assert runtime.count(fx.RunStart) == 0
    runtime.start()
    assert isinstance(runtime.join(quiet=True).error, Dormant), "nor does it wait for another's start"


def test_cq_11_a_quiet_waiter_of_a_busy_service_is_served_in_its_turn() -> None:
    runtime = hot(max_in_flight=1)
    busy = runtime.acquire()
    assert busy is not None
    guest = runtime.join(quiet=True)
    runtime.release(busy)
    assert guest.lease


def test_cq_11_a_quiet_waiter_starts_nothing_when_its_service_is_stopped() -> None:
    runtime = hot(max_in_flight=1)
    busy = runtime.acquire()
    guest = runtime.join(quiet=True)
    runtime.stop(force=True)
    assert busy is not None
    runtime.stopped()
    assert isinstance(guest.error, Dormant)
    assert runtime.count(fx.RunStart) == 1, "the first one only"


# -- Retry-After -------------------------------------------------------------------------------


def test_t_cq_02_while_hot_a_full_queue_says_how_long_its_first_has_waited() -> None:
    runtime = hot(max_in_flight=1, queue_size=1)
    assert runtime.acquire() is not None
    runtime.join()
    runtime.pass_time(17.0)
    with pytest.raises(QueueFull) as full:
        runtime.join()
    assert full.value.retry_after == 17.0
