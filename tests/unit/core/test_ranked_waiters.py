"""Waiters with instances for later: the next ones get their turn, and nobody loses its place."""

from __future__ import annotations

from hestia.core import effects as fx
from hestia.core.lifecycle import State
from tests.fakes.runtime import A, B, C, PaperRuntime, S, service


def runtime() -> PaperRuntime:
    return PaperRuntime(service(A, B, C))


def test_the_first_are_started_and_the_later_ones_are_not() -> None:
    one = runtime()
    one.join(A, then=(B,))
    assert one.start_of().key.instance == A
    assert one.slot(B).state is State.COLD


def test_qf_01_when_the_first_fails_the_next_is_started_and_the_order_stays() -> None:
    one = runtime()
    first = one.join(A, then=(B,))
    second = one.join(B)
    one.fails()
    one.ready(one.start_of(B))
    assert first.lease.use.key.instance == B
    assert not second.outcomes, "one at a time until the first answer; it came later"


def test_a_hot_one_of_the_later_ones_is_not_used_while_the_first_may_serve() -> None:
    one = runtime()
    one.join(B)
    one.ready(one.start_of(B))
    guest = one.join(A, then=(B,))
    assert not guest.outcomes
    assert one.start_of(A).key.instance == A


def test_a_hot_one_of_the_later_ones_serves_at_once_when_the_first_is_given_up() -> None:
    one = runtime()
    other = one.join(B)
    one.ready(one.start_of(B))
    one.succeeded(other.lease)
    guest = one.join(A, then=(B,))
    one.fails(one.start_of(A))
    assert guest.lease.use.key.instance == B
    again = one.join(A, then=(B,))
    assert again.lease.use.key.instance == B, "A backs off, so nobody waits for it"


def test_one_reason_is_told_when_none_is_left() -> None:
    one = runtime()
    guest = one.join(A, then=(B, C))
    for name in (A, B, C):
        one.fails(one.start_of(name))
    assert len(guest.outcomes) == 1
    assert guest.error


def test_sf_16_spill_over_starts_one_beside_those_that_serve_and_only_one() -> None:
    one = runtime()
    one.join(A)
    one.ready(one.start_of(A))
    for name in (B, C):
        one.perform(one.world.spill_over(S, name, one.now, actor="req_1"))
    assert one.count(fx.RunStart) == 2, "A, then B; C not while B starts"
    assert one.slot(B).record.cause == "spill_over"
    one.ready(one.start_of(B))
    one.perform(one.world.spill_over(S, B, one.now, actor="req_1"))
    assert one.count(fx.RunStart) == 2, "it is hot already"
