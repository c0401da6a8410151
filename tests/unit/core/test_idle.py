"""When an instance stops: idle counts from the end of use, open exchanges veto, drains end (ID)."""

from __future__ import annotations

import pytest

from hestia.core import effects as fx
from hestia.core.idle import next_look
from hestia.core.lease import Lease, Use
from hestia.core.lifecycle import State
from hestia.core.model import Endpoint, GatewayId, IdleWebSocket, InstanceKey
from hestia.core.steps import SOCKET_CLOSE
from tests.fakes.runtime import A, PaperRuntime, S, hot, service

IDLE = 60.0


def take(runtime: PaperRuntime, *, socket: bool = False) -> Lease:
    lease = runtime.acquire()
    assert lease is not None
    if socket:
        lease.became_socket()
    return lease


def a_use(now: float) -> Use:
    slot = PaperRuntime().slot()
    key = InstanceKey(GatewayId("g"), S, A, 1)
    return Use(key, Endpoint("http", "h", 1), limit=None, warm_limit=9, now=now, owner=slot)


@pytest.mark.parametrize(
    ("leases", "sockets", "mode", "waiting", "look"),
    [
        (0, 0, IdleWebSocket.FRAMES, 0, 110.0),
        (1, 0, IdleWebSocket.FRAMES, 0, 210.0),
        (1, 1, IdleWebSocket.FRAMES, 0, 110.0),
        (2, 1, IdleWebSocket.FRAMES, 0, 210.0),
        (1, 1, IdleWebSocket.OPEN, 0, 210.0),
        (1, 1, IdleWebSocket.NEVER, 0, 110.0),
        (0, 0, IdleWebSocket.FRAMES, 1, 210.0),
    ],
)
def test_id02_id03_what_vetoes(
    leases: int, sockets: int, mode: IdleWebSocket, waiting: int, look: float
) -> None:
    """Last used at 100, now 200, ten seconds of idle timeout."""
    use = a_use(100.0)
    held = [use.grant() for _ in range(leases)]
    for lease in held[:sockets]:
        lease.became_socket()
    assert next_look(use, waiting=waiting, idle_timeout=10.0, sockets=mode, now=200.0) == look


def test_id01_idle_counts_from_the_end_of_the_response() -> None:
    runtime = hot(idle_timeout=10.0)
    lease = take(runtime)
    runtime.pass_time(60.0)
    runtime.release(lease)
    runtime.pass_time(9.9)
    assert runtime.state() is State.HOT
    runtime.pass_time(0.2)
    assert runtime.state() is State.STOPPING
    assert runtime.moves[-1].cause == "idle"


def test_id01_what_nobody_used_stops_its_idle_timeout_after_it_got_hot() -> None:
    runtime = hot(idle_timeout=10.0)
    runtime.pass_time(10.0)
    assert runtime.state() is State.STOPPING


@pytest.mark.parametrize("kind", ["request", "socket with frames", "open socket", "waiter"])
def test_id02_use_of_any_kind_holds_it_up_over_three_idle_timeouts(kind: str) -> None:
    mode = IdleWebSocket.OPEN if kind == "open socket" else IdleWebSocket.FRAMES
    runtime = hot(idle_timeout=IDLE, idle_websocket=mode, max_in_flight=1)
    lease = take(runtime, socket="socket" in kind)
    if kind == "waiter":
        runtime.join(patience=1000.0)
    for _ in range(3 * 6):
        runtime.pass_time(IDLE / 6)
        if kind == "socket with frames":
            lease.touched(runtime.now)
    assert runtime.state() is State.HOT


def test_id03_silent_sockets_are_closed_first_and_the_stop_follows_the_last_release() -> None:
    runtime = hot(idle_timeout=IDLE)
    sockets = [take(runtime, socket=True) for _ in range(2)]
    runtime.pass_time(IDLE)
    assert runtime.state() is State.DRAINING
    assert set(runtime.closing) == set(sockets)
    runtime.release(sockets[0])
    assert runtime.count(fx.RunStop) == 0
    runtime.release(sockets[1])
    assert runtime.count(fx.RunStop) == 1
    assert runtime.walk() == "cold starting hot draining stopping"


def test_id03_sockets_that_do_not_close_are_cut_before_the_stop() -> None:
    runtime = hot(idle_timeout=IDLE)
    lease = take(runtime, socket=True)
    runtime.pass_time(IDLE + SOCKET_CLOSE)
    assert runtime.aborted == [lease]
    assert runtime.walk() == "cold starting hot draining stopping"
    assert runtime.stopped_with_leases_open == []


def test_id03_a_frame_one_tick_before_the_decision_keeps_it() -> None:
    runtime = hot(idle_timeout=IDLE)
    lease = take(runtime, socket=True)
    runtime.now += IDLE
    lease.touched(runtime.now - 0.001)
    runtime.fire((S, A, fx.Timer.IDLE))
    assert runtime.state() is State.HOT
    assert runtime.timer_at(fx.Timer.IDLE) == pytest.approx(runtime.now + IDLE - 0.001)


def test_id03_a_frame_one_tick_after_the_decision_undoes_nothing() -> None:
    runtime = hot(idle_timeout=IDLE)
    lease = take(runtime, socket=True)
    runtime.pass_time(IDLE)
    lease.touched(runtime.now)
    runtime.release(lease)
    assert runtime.walk() == "cold starting hot draining stopping"


def test_id03_demand_after_the_decision_waits_for_the_next_generation() -> None:
    runtime = hot(idle_timeout=IDLE)
    lease = take(runtime, socket=True)
    runtime.pass_time(IDLE)
    guest = runtime.join()
    runtime.release(lease)
    runtime.stopped()
    runtime.ready()
    assert guest.lease.use.key.generation == 2


def test_id06_use_never_moves_the_timer() -> None:
    """One timer that looks again when it fires (Ollama 4031: stopped in the middle of heavy use)."""
    runtime = hot(idle_timeout=IDLE)
    told = runtime.count(fx.SetTimer)
    for _ in range(1000):
        runtime.release(take(runtime))
    assert runtime.count(fx.SetTimer) == told
    runtime.pass_time(IDLE - 1.0)
    runtime.release(take(runtime))
    runtime.pass_time(IDLE - 1.0)
    assert runtime.state() is State.HOT
    runtime.pass_time(1.0)
    assert runtime.state() is State.STOPPING


def test_id06_a_stale_timer_does_nothing_to_a_renewed_instance() -> None:
    runtime = hot(idle_timeout=IDLE)
    runtime.gone()
    runtime.stopped()
    assert runtime.timer_at(fx.Timer.IDLE) is None
    runtime.start()
    runtime.ready()
    runtime.perform(runtime.world.timer(S, A, fx.Timer.IDLE, runtime.now))
    assert runtime.state() is State.HOT
    for kind in (fx.Timer.DRAIN, fx.Timer.STOP_RETRY, fx.Timer.RETRY):
        runtime.perform(runtime.world.timer(S, A, kind, runtime.now))
    assert runtime.state() is State.HOT


def test_id08_an_idle_timeout_of_never_is_never() -> None:
    runtime = hot()
    runtime.pass_time(1e6)
    assert runtime.state() is State.HOT
    assert runtime.timers == {}


def test_id10_a_drain_that_does_not_end_is_given_up_and_says_so() -> None:
    runtime = hot(drain_timeout=300.0, idle_timeout=IDLE)
    stream = take(runtime)
    runtime.stop()
    guest = runtime.join()
    runtime.pass_time(300.0)
    assert runtime.walk() == "cold starting hot draining hot"
    assert runtime.moves[-1].cause == "drain_given_up"
    assert guest.lease.use is stream.use, "whoever came meanwhile is served by it"
    assert runtime.timer_at(fx.Timer.IDLE) is not None


def test_id10_a_restart_whose_drain_is_given_up_is_forgotten() -> None:
    runtime = hot(drain_timeout=300.0)
    lease = take(runtime)
    runtime.restart()
    runtime.pass_time(300.0)
    runtime.release(lease)
    runtime.stop()
    runtime.stopped()
    assert runtime.state() is State.COLD


def test_id10_qf02_a_given_up_drain_still_opens_the_warm_up_gate() -> None:
    """The window's timer went with the drain; without a new one the gate would stay shut for ever."""
    runtime = PaperRuntime(service(drain_timeout=300.0))
    first, second = runtime.join(patience=1000.0), runtime.join(patience=1000.0)
    runtime.ready()
    assert first.lease
    runtime.stop()
    runtime.pass_time(300.0)
    assert runtime.state() is State.HOT
    assert second.outcome is None
    runtime.pass_time(2.0)
    assert second.lease


def test_a_forced_stop_ends_a_drain_and_hurries_a_stop() -> None:
    runtime = hot()
    lease = take(runtime)
    runtime.stop()
    assert runtime.state() is State.DRAINING
    runtime.stop(force=True)
    assert runtime.aborted == [lease]
    assert runtime.count(fx.RunStop) == 1
    runtime.stop(force=True)
    assert runtime.hurried == [runtime.stop_of().key]
    assert runtime.count(fx.RunStop) == 1


def test_id13_endpoint_closes_before_the_engine_is_asked_to_stop() -> None:
    runtime = hot()
    runtime.stop()
    kinds = [type(effect) for effect in runtime.effects]
    assert kinds.index(fx.EndpointClosed) < kinds.index(fx.RunStop)


def test_id14_nothing_but_the_confirmation_ends_a_stop() -> None:
    runtime = hot()
    runtime.stop()
    runtime.pass_time(1e6)
    runtime.gone()
    assert runtime.state() is State.STOPPING
    runtime.stopped()
    assert runtime.state() is State.COLD
