"""A new configuration over a world in every state: only what differs is touched (SPEC 2, DR-08)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.core import effects as fx
from hestia.core.difference import Difference, applied, difference
from hestia.core.errors import ServiceNotFound
from hestia.core.lifecycle import State
from hestia.core.model import GatewaySettings, Retention, ServiceId, ServiceSettings, Settings
from hestia.core.reconfigure import GRACE, SPREAD
from tests.fakes.runtime import A, PaperRuntime, S, service

OTHER = ServiceId("other")


def other_options(one: ServiceSettings) -> ServiceSettings:
    """The same service, started in another way."""
    return replace(one, instances=tuple(replace(each, options_hash="new") for each in one.instances))


def settings(*services: ServiceSettings, **gateway: Any) -> Settings:  # Any: whatever the keys take
    return Settings(gateway=GatewaySettings(**gateway), services={one.id: one for one in services})


def running(*services: ServiceSettings) -> PaperRuntime:
    """The first service is hot and unused, the others are cold."""
    runtime = PaperRuntime(*services)
    guest = runtime.join()
    runtime.ready()
    runtime.succeeded(guest.lease)
    runtime.release(guest.lease)
    return runtime


# -- the difference ----------------------------------------------------------------------------


def test_the_difference_names_what_was_added_removed_and_changed() -> None:
    old = settings(service(id=ServiceId("a")), service(id=ServiceId("b")), service(id=ServiceId("c")))
    new = settings(
        service(id=ServiceId("c")), service(id=ServiceId("b"), idle_timeout=5.0), service(id=OTHER)
    )
    found = difference(old, new)
    assert (found.added, found.removed, found.changed) == ((OTHER,), ("a",), ("b",))
    assert not found.is_empty
    with pytest.raises(TypeError):
        bool(found)


def test_keys_that_need_a_restart_keep_their_value_and_are_named() -> None:
    old, new = settings(port=8080, log_level="INFO"), settings(port=9090, log_level="DEBUG")
    found = difference(old, new)
    assert (found.gateway, found.waiting) == (("log_level",), ("port",))
    kept = applied(old, new)
    assert (kept.gateway.port, kept.gateway.log_level) == (8080, "DEBUG")
    assert difference(old, replace(old, gateway=kept.gateway)).waiting == ()


def test_a_key_that_waits_names_the_source_of_the_value_in_force() -> None:
    old = replace(settings(retention=Retention(days=7)), sources={"retention.days": "a:1"})
    new = replace(settings(port=9090), sources={"port": "a:1", "services.port.port": "a:7"})
    assert applied(old, new).sources == {"retention.days": "a:1", "services.port.port": "a:7"}


NAMES = st.sampled_from([ServiceId(name) for name in "abcdef"])
SERVICES = st.dictionaries(NAMES, st.sampled_from([1, 2, 3]), max_size=6)


@given(SERVICES, SERVICES)
def test_a_world_follows_any_change_of_configuration(
    old: dict[ServiceId, int], new: dict[ServiceId, int]
) -> None:
    def made(sizes: dict[ServiceId, int]) -> list[ServiceSettings]:
        return [service(id=name, queue_size=size) for name, size in sizes.items()]

    runtime = PaperRuntime(*(made(old) or [service()]))
    if not old:
        runtime.reload()
    runtime.reload(*made(new))
    assert {name: one.settings.queue_size for name, one in runtime.world.services.items()} == new
    assert list(runtime.world.services) == list(new), "in the order of the configuration"
    runtime.reload(*made(new))
    assert difference(settings(*made(new)), settings(*made(new))) == Difference()


# -- services that stay ------------------------------------------------------------------------


def test_what_did_not_change_is_not_touched() -> None:
    runtime = running(service(), service(id=OTHER))
    before = len(runtime.effects)
    runtime.reload(service(), service(id=OTHER, queue_size=3))
    touched = {getattr(effect, "service", OTHER) for effect in runtime.effects[before:]}
    assert touched <= {OTHER}
    assert runtime.state() is State.HOT


def test_a_longer_queue_and_more_in_flight_help_those_who_wait_at_once() -> None:
    runtime = running(service(max_in_flight=1, warm_concurrency=9))
    held = runtime.acquire()
    waiting = runtime.join()
    assert held is not None
    assert waiting.outcome is None
    runtime.reload(service(max_in_flight=2, warm_concurrency=9))
    assert waiting.lease.use is held.use


def test_id19_a_shorter_idle_timeout_applies_to_the_running_timer_after_a_grace_that_is_spread() -> None:
    names = [ServiceId(f"s{number}") for number in range(20)]
    runtime = PaperRuntime(*(service(id=name, idle_timeout=3600.0) for name in names))
    for name in names:
        guest = runtime.join(service=name)
        runtime.ready(runtime.start_of(service=name))
        runtime.release(guest.lease)
    runtime.pass_time(600.0)
    runtime.reload(*(service(id=name, idle_timeout=60.0) for name in names))
    due = [runtime.timer_at(fx.Timer.IDLE, service=name) for name in names]
    ends = [at - runtime.now for at in due if at is not None]
    assert len(ends) == len(names)
    assert min(ends) >= GRACE
    assert max(ends) <= GRACE + SPREAD
    assert len(set(ends)) == len(names), "not all in the same tick"
    runtime.pass_time(GRACE + SPREAD)
    assert {runtime.state(service=name) for name in names} == {State.STOPPING}


def test_id19_a_longer_idle_timeout_and_never_apply_too() -> None:
    runtime = running(service(idle_timeout=60.0))
    used = runtime.now
    runtime.reload(service(idle_timeout=90.0))
    assert runtime.timer_at(fx.Timer.IDLE) == used + 90.0
    runtime.reload(service())
    assert runtime.timer_at(fx.Timer.IDLE) is None


def test_ad17_other_start_settings_wait_until_what_runs_is_unused() -> None:
    old = service(idle_timeout=3600.0)
    runtime = running(old)
    lease = runtime.acquire()
    assert lease is not None
    runtime.reload(other_options(old))
    slot = runtime.slot()
    assert slot.outdated
    assert slot.settings.options_hash == "", "what runs is stopped by those who started it"
    runtime.pass_time(300.0)
    assert runtime.state() is State.HOT, "a service in use is never stopped"
    runtime.release(lease)
    runtime.pass_time(61.0)
    runtime.stopped()
    assert (runtime.state(), slot.outdated, slot.settings.options_hash) == (State.COLD, False, "new")


def test_two_reloads_during_one_start_leave_the_start_and_its_waiters_alone() -> None:
    runtime = PaperRuntime(service())
    guest = runtime.join()
    runtime.reload(service(queue_size=5))
    runtime.reload(other_options(service(queue_size=6)))
    assert runtime.count(fx.RunStart) == 1
    runtime.ready()
    assert guest.lease.use.key.generation == 1


# -- services that go --------------------------------------------------------------------------


def test_dr08_a_service_that_is_taken_out_drains_stops_and_is_forgotten() -> None:
    runtime = running(service(), service(id=OTHER))
    lease = runtime.acquire()
    assert lease is not None
    runtime.reload(service(id=OTHER))
    assert runtime.state() is State.DRAINING
    with pytest.raises(ServiceNotFound):
        runtime.join()
    with pytest.raises(ServiceNotFound):
        runtime.start()
    runtime.release(lease)
    runtime.stopped()
    assert list(runtime.world.services) == [OTHER]
    assert not [timer for timer in runtime.timers if timer[0] == S]


def test_dr08_its_drain_ends_in_an_abort_not_in_service() -> None:
    runtime = running(service(drain_timeout=20.0), service(id=OTHER))
    lease = runtime.acquire()
    runtime.reload(service(id=OTHER))
    runtime.pass_time(20.0)
    assert runtime.aborted == [lease]
    runtime.stopped()
    assert S not in runtime.world.services


def test_who_waits_for_a_service_that_is_taken_out_is_told() -> None:
    runtime = PaperRuntime(service(), service(id=OTHER))
    guest = runtime.join()
    runtime.reload(service(id=OTHER))
    assert isinstance(guest.error, ServiceNotFound)
    runtime.stopped()
    assert S not in runtime.world.services


def test_a_service_that_comes_back_while_it_stops_is_served_by_its_next_generation() -> None:
    runtime = running(service(), service(id=OTHER))
    runtime.reload(service(id=OTHER))
    assert runtime.state() is State.STOPPING
    runtime.reload(service(queue_size=7), service(id=OTHER))
    guest = runtime.join()
    runtime.stopped()
    runtime.ready()
    assert guest.lease.use.key.generation == 2
    assert runtime.record().settings.queue_size == 7


def test_a_cold_or_failed_service_goes_at_once() -> None:
    runtime = PaperRuntime(service(), service(id=OTHER))
    runtime.join(service=OTHER)
    runtime.fails(runtime.start_of(service=OTHER))
    runtime.reload()
    assert list(runtime.world.services) == []


def test_what_is_stuck_is_kept_until_it_is_gone() -> None:
    runtime = running(service(), service(id=OTHER))
    runtime.stop()
    runtime.stop_fails()
    runtime.reload(service(id=OTHER))
    assert runtime.world.services[S].retired
    runtime.stopped()
    assert S not in runtime.world.services
    assert A not in [place[1] for place in runtime.timers]
