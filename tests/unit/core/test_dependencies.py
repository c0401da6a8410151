"""`depends_on`: started first, held while needed, and who is told what when it fails (SF-12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hestia.core import effects as fx
from hestia.core import warm
from hestia.core.difference import difference
from hestia.core.errors import EngineRefused, GatewayDraining, StartFailed, StartStopped
from hestia.core.lifecycle import State
from hestia.core.model import Backoff, GatewaySettings, ServiceId, ServiceSettings, Settings
from hestia.core.ports import Handle
from tests.fakes.runtime import A, B, Guest, PaperRuntime, service

DB, LEFT, RIGHT, TOP = (ServiceId(name) for name in ("db", "left", "right", "top"))
HANDLE: Handle = {"generation": 1}


def needs(name: ServiceId, *others: ServiceId, **settings: Any) -> ServiceSettings:
    return service(id=name, depends_on=others, **settings)


def diamond(**db: Any) -> PaperRuntime:
    return PaperRuntime(
        service(id=DB, **db), needs(LEFT, DB), needs(RIGHT, DB, idle_timeout=5.0), needs(TOP, LEFT, RIGHT)
    )


def states(runtime: PaperRuntime) -> str:
    return " ".join(runtime.state(A, name) for name in runtime.world.services)


def ready(runtime: PaperRuntime, *names: ServiceId) -> None:
    for name in names:
        runtime.ready(runtime.start_of(A, name))


def told(guest: Guest) -> str:
    return guest.error.detail


def test_sf12_a_herd_on_both_tops_of_a_diamond_starts_what_they_need_once_and_first() -> None:
    runtime = diamond()
    guests = [runtime.join(service=name) for name in (LEFT, RIGHT) * 50]
    assert [key.service for key in runtime.starts] == [DB]
    assert states(runtime) == "starting starting starting cold"
    ready(runtime, DB)
    assert [key.service for key in runtime.starts] == [LEFT, RIGHT]
    ready(runtime, LEFT, RIGHT)
    for guest in guests:
        runtime.release(guest.lease)
    assert runtime.count(fx.RunStart) == 3


def test_sf12_a_chain_starts_from_its_end() -> None:
    runtime = diamond()
    guest = runtime.join(service=TOP)
    order = []
    while runtime.starts:
        order += [key.service for key in runtime.starts]
        ready(runtime, *[key.service for key in runtime.starts])
    assert order == [DB, LEFT, RIGHT, TOP]
    assert guest.lease


def test_sf12_what_is_needed_is_not_idle_while_a_dependant_runs_and_counts_from_its_end() -> None:
    runtime = PaperRuntime(service(id=DB, idle_timeout=10.0), needs(LEFT, DB, idle_timeout=100.0))
    runtime.start(LEFT)
    ready(runtime, DB, LEFT)
    runtime.pass_time(99.0)
    assert states(runtime) == "hot hot"
    runtime.pass_time(1.0)
    assert states(runtime) == "hot stopping"
    runtime.pass_time(60.0)
    assert states(runtime) == "hot stopping", "not before it is confirmed gone"
    runtime.stopped(runtime.stop_of(A, LEFT))
    runtime.pass_time(9.9)
    assert states(runtime) == "hot cold"
    runtime.pass_time(0.2)
    assert states(runtime) == "stopping cold"


def test_sf12_what_fails_fails_the_start_of_those_who_need_it_and_is_named() -> None:
    runtime = diamond()
    top, left = runtime.join(service=TOP), runtime.join(service=LEFT)
    runtime.fails(runtime.start_of(A, DB), error=StartFailed("no disk", tail=("last line",)))
    assert told(left) == '"left" needs "db" (depends_on), which is not to be had: no disk'
    assert '"top" needs "left"' in told(top)
    assert told(top).endswith("no disk")
    assert top.error.tail == ("last line",)
    assert states(runtime) == "failed failed failed failed"
    assert not runtime.slot(A, LEFT).backoff.failures, "it did nothing wrong"
    assert runtime.count(fx.RunStart) == 1


def test_sf12_the_next_request_tries_again_under_the_back_off_of_what_failed() -> None:
    runtime = PaperRuntime(service(id=DB, restart_backoff=Backoff(base=4.0)), needs(LEFT, DB))
    runtime.join(service=LEFT)
    runtime.fails(runtime.start_of(A, DB))
    guest = runtime.join(service=LEFT)
    assert guest.outcome is None
    runtime.pass_time(3.9)
    assert runtime.starts == {}
    runtime.pass_time(0.2)
    ready(runtime, DB, LEFT)
    assert guest.lease


def test_sf12_an_open_breaker_is_told_at_once() -> None:
    runtime = PaperRuntime(service(id=DB, restart_backoff=Backoff(intensity=1)), needs(LEFT, DB))
    runtime.join(service=LEFT)
    runtime.fails(runtime.start_of(A, DB), error=StartFailed("no disk"))
    guest = runtime.join(service=LEFT)
    assert "no disk It failed once" in told(guest)
    assert guest.error.retry_after == pytest.approx(30.0)


def test_sf12_another_instance_of_what_is_needed_gets_its_turn() -> None:
    runtime = PaperRuntime(service(A, B, id=DB), needs(LEFT, DB))
    guest = runtime.join(service=LEFT)
    runtime.fails(runtime.start_of(A, DB))
    runtime.ready(runtime.start_of(B, DB))
    ready(runtime, LEFT)
    assert guest.lease


def test_sf12_a_stop_of_what_is_needed_while_it_starts_answers_those_who_need_it() -> None:
    runtime = PaperRuntime(service(id=DB), needs(LEFT, DB))
    guest = runtime.join(service=LEFT)
    runtime.stop(DB)
    assert "was stopped while it started" in told(guest)
    assert not isinstance(guest.error, StartStopped)


def test_sf12_a_stop_of_a_start_that_waits_leaves_nothing() -> None:
    runtime = PaperRuntime(service(id=DB), needs(LEFT, DB))
    guest = runtime.join(service=LEFT)
    runtime.stop(LEFT)
    assert isinstance(guest.error, StartStopped)
    runtime.stopped(runtime.stop_of(A, LEFT))
    ready(runtime, DB)
    assert states(runtime) == "hot cold"
    assert runtime.starts == {}


def test_sf12_what_is_just_stopping_starts_again_for_those_who_need_it() -> None:
    runtime = PaperRuntime(service(id=DB), needs(LEFT, DB))
    runtime.start(DB)
    ready(runtime, DB)
    runtime.stop(DB)
    guest = runtime.join(service=LEFT)
    runtime.stopped(runtime.stop_of(A, DB))
    ready(runtime, DB, LEFT)
    assert guest.lease


def test_sf12_a_crash_of_what_is_needed_is_followed_by_its_restart() -> None:
    runtime = PaperRuntime(service(id=DB), needs(LEFT, DB))
    runtime.start(LEFT)
    ready(runtime, DB, LEFT)
    runtime.gone_of(DB)
    runtime.stopped(runtime.stop_of(A, DB))
    assert states(runtime) == "starting hot"
    assert runtime.moves[-1].cause == "dependency"


def test_sf12_what_a_person_stops_stays_down_though_it_is_needed() -> None:
    runtime = PaperRuntime(service(id=DB), needs(LEFT, DB))
    runtime.start(LEFT)
    ready(runtime, DB, LEFT)
    runtime.stop(DB)
    runtime.stopped(runtime.stop_of(A, DB))
    assert states(runtime) == "cold hot"


def test_sf12_a_dependant_that_was_adopted_holds_what_it_needs() -> None:
    runtime = PaperRuntime(service(id=DB, idle_timeout=10.0), needs(LEFT, DB))
    for name in (DB, LEFT):
        runtime.perform(runtime.world.adopt(name, A, runtime.now, generation=1, handle=HANDLE))
        runtime.adopted(name)
    runtime.pass_time(1000.0)
    assert states(runtime) == "hot hot"


def test_sf12_a_dependant_that_was_adopted_without_what_it_needs_brings_it_back() -> None:
    runtime = PaperRuntime(service(id=DB), needs(LEFT, DB))
    runtime.perform(runtime.world.adopt(LEFT, A, runtime.now, generation=1, handle=HANDLE))
    runtime.adopted(LEFT)
    assert states(runtime) == "starting hot"


def test_sf12_what_somebody_else_runs_wakes_nothing() -> None:
    runtime = PaperRuntime(service(id=DB), needs(LEFT, DB))
    runtime.found(A, LEFT)
    assert states(runtime) == "cold hot"


def test_id17_nothing_that_waited_begins_once_the_gateway_ends() -> None:
    runtime = PaperRuntime(service(id=DB), needs(LEFT, DB))
    runtime.join(service=LEFT)
    runtime.perform(runtime.world.refuse_all(GatewayDraining("going down")))
    ready(runtime, DB)
    assert runtime.starts == {}
    assert runtime.state(A, LEFT) is State.STARTING


def test_ck05_a_request_may_wait_as_long_as_the_starts_before_it() -> None:
    settings = needs(LEFT, DB, start_timeout=10.0, stop_grace=1.0, dependency_wait=100.0)
    assert settings.wait_limit > 110.0


def reload(runtime: PaperRuntime, *services: ServiceSettings) -> None:
    """Take a new configuration as a reload does."""
    new = {one.id: one for one in services}
    old = {name: record.settings for name, record in runtime.world.services.items()}
    found = difference(settings_of(old), settings_of(new))
    runtime.perform(runtime.world.reconfigure(new, found, runtime.now))


def settings_of(services: Mapping[ServiceId, ServiceSettings]) -> Settings:
    return Settings(gateway=GatewaySettings(), services=services)


def test_sf12_a_reload_that_adds_what_is_needed_counts_from_the_next_start_on() -> None:
    runtime = PaperRuntime(service(id=LEFT))
    reload(runtime, needs(LEFT, DB), service(id=DB, idle_timeout=5.0))
    runtime.join(service=LEFT)
    assert [key.service for key in runtime.starts] == [DB]
    ready(runtime, DB, LEFT)
    runtime.pass_time(100.0)
    assert states(runtime) == "hot hot"


def test_sf12_a_reload_that_takes_a_need_away_lets_the_start_go_on() -> None:
    runtime = PaperRuntime(service(id=DB), needs(LEFT, DB))
    guest = runtime.join(service=LEFT)
    reload(runtime, service(id=DB), service(id=LEFT))
    ready(runtime, LEFT)
    assert guest.lease


def test_sf12_a_stop_of_what_is_needed_begins_none_of_its_other_instances() -> None:
    runtime = PaperRuntime(service(A, B, id=DB), needs(LEFT, DB))
    guest = runtime.join(service=LEFT)
    runtime.stop(DB)
    assert "was stopped while it started" in told(guest)
    assert runtime.state(B, DB) is State.COLD


def test_id16_what_is_kept_warm_tries_again_after_a_pause_when_what_it_needs_failed() -> None:
    runtime = PaperRuntime(service(id=DB), needs(TOP, DB, keep_warm=True))
    runtime.perform(runtime.world.look_at_calendars(runtime.now))
    runtime.fails(runtime.start_of(A, DB), error=EngineRefused("no such program", permanent=True))
    assert states(runtime) == "failed failed"
    runtime.pass_time(warm.PAUSE - 1)
    assert states(runtime) == "failed failed"
    runtime.pass_time(2.0)
    ready(runtime, DB, TOP)
    assert states(runtime) == "hot hot"


def test_id16_what_is_kept_warm_begins_nothing_while_what_it_needs_is_not_to_be_had() -> None:
    """Found by the random walk: tried at once, nothing would have ended that, the gateway included."""
    runtime = PaperRuntime(service(id=DB), needs(TOP, DB, keep_warm=True))
    runtime.perform(runtime.world.look_at_calendars(runtime.now))
    ready(runtime, DB, TOP)
    runtime.stop(TOP)
    runtime.stopped(runtime.stop_of(A, TOP))
    runtime.stop(DB)
    runtime.stop_fails(runtime.stop_of(A, DB))
    runtime.start(TOP)
    assert states(runtime) == "failed failed"
    before = len(runtime.moves)
    for _ in range(3):
        runtime.pass_time(warm.PAUSE - 1)
    assert len(runtime.moves) == before, "a start that fails at once would be told each time"
    runtime.stop(DB)
    runtime.stopped(runtime.stop_of(A, DB))
    runtime.pass_time(warm.PAUSE)
    ready(runtime, DB, TOP)
    assert states(runtime) == "hot hot"
