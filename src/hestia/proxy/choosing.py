"""The strategies at work, one for each service that has one: asked, checked, and told what failed (SPEC 6).

Owns what is remembered between requests: which instances are left out for a while, and when to look again.
One that raises costs the request nothing but its wish: the configured order is used then, counted and logged
with its name. It names instances of its service and nothing else (SS-06).
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from hestia.core.errors import StrategyRefused
from hestia.core.lease import Use
from hestia.core.model import InstanceId, InstanceSettings, ServiceId, Settings
from hestia.core.records import ServiceRecord
from hestia.core.strategy import (
    Asked,
    Candidate,
    Ejection,
    Ranking,
    Reads,
    Sticky,
    Strategy,
    StrategySettings,
)

log = logging.getLogger(__name__)

LOOK_PAUSE: Final = 10.0  # seconds at least between two probes of an instance that is left out or not found


class Instances(Protocol):
    """What is needed of the gateway; `runtime.several.Several` is it."""

    def record(self, service: ServiceId) -> ServiceRecord | None: ...
    def spill_over(self, service: ServiceId, instance: InstanceId, *, actor: str) -> None: ...
    def answers(self, service: ServiceId, instance: InstanceId) -> Awaitable[bool]: ...
    def look(self, service: ServiceId) -> Awaitable[None]: ...
    def models(self, service: ServiceId, path: str, authorization: bytes | None) -> Awaitable[bytes]: ...


class Failures:
    """Failures in a row of one generation. Successes are not counted where they happen (that would cost each
    request): as many as ended beyond the failures that were noted."""

    __slots__ = ("_best", "_use", "in_row", "noted")

    def __init__(self, use: Use) -> None:
        self._use = use
        self._best = 0
        self.noted = 0
        self.in_row = 0

    def is_of(self, use: Use) -> bool:
        return self._use is use

    def note(self) -> None:
        """One more failure; it counts as one in a row unless a request has succeeded meanwhile."""
        ended = self._use.granted - len(self._use.leases) - self.noted
        if ended > self._best:
            self._best = ended
            self.in_row = 0
        self.noted += 1
        self.in_row += 1


def _is_sound(ranking: Ranking, known: frozenset[InstanceId]) -> bool:
    """Whether it names known instances by their ids, in parts of the types that are declared: somebody's own
    strategy may say anything."""
    parts: tuple[Any, ...] = ranking
    order, then, why, wake, sticky = parts
    return (
        type(order) is tuple
        and type(then) is tuple
        and type(why) is str
        and (wake is None or type(wake) is str)
        and (sticky is None or type(sticky) is Sticky)
        and known.issuperset(order)
        and known.issuperset(then)
    )


class Chooser:
    """The strategy of one service."""

    def __init__(
        self,
        service: ServiceId,
        settings: StrategySettings,
        instances: tuple[InstanceSettings, ...],
        strategy: Strategy,
        choosers: Choosers,
    ) -> None:
        self.service = service
        self.made_for = instances
        self.settings = settings
        self._strategy = strategy
        self._all = choosers
        self._record: ServiceRecord | None = None
        self._made_of: object = None
        self._candidates: tuple[Candidate, ...] = ()
        self._known: frozenset[InstanceId] = frozenset()
        self._failures: dict[InstanceId, Failures] = {}
        self._out: dict[InstanceId, float] = {}  # left out until then; after it, until a probe succeeds
        self._look_at = 0.0  # when it is looked again for what others started
        self.reads: Reads | None = getattr(strategy, "reads", None)
        self.merges: bool = bool(getattr(strategy, "merge_models", False))
        self._policy: Ejection | None = getattr(strategy, "ejection", None)
        self.broken = 0  # rankings it failed at

    def rank(self, asked: Asked) -> Ranking:
        """The instances for this request. Raises StrategyRefused for one that is none of the service's."""
        record, now = self._all.instances.record(self.service), self._all.clock()
        if record is None:
            return Ranking(())
        if self._made_of is not record.settings or self._record is not record:
            self._make_candidates(record)
        if now >= self._look_at:
            self._look(now)
        if self._out:
            self._look_at_outcasts(now)
        try:
            said = self._strategy.rank(asked, self._candidates)
            if isinstance(said, Ranking) and _is_sound(said, self._known):
                ranking, sound = said, True
            else:
                ranking, sound = self._read(said), False
        except StrategyRefused:
            raise
        except Exception as exc:  # boundary: a strategy's bug costs its request nothing
            self._all.broke(self, exc)
            return Ranking(record.default, (), "the strategy failed, so in the configured order")
        if not sound:
            self._check(ranking)
        if not ranking.order:
            return Ranking(record.default, (), "the strategy named none, so in the configured order")
        if ranking.wake is not None and ranking.wake not in self._known:
            return ranking._replace(wake=None)
        return ranking

    def _make_candidates(self, record: ServiceRecord) -> None:
        settings = record.settings
        self._record, self._made_of = record, settings
        self._candidates = tuple(Candidate(record.slots[one.id], one) for one in settings.instances)
        self._known = frozenset(one.id for one in self._candidates)
        self._failures = {name: one for name, one in self._failures.items() if name in self._known}
        self._out = {name: at for name, at in self._out.items() if name in self._known}
        for candidate in self._candidates:
            candidate.ejected = candidate.id in self._out

    def _read(self, said: Iterable[Candidate] | Iterable[str] | Ranking) -> Ranking:
        """What a strategy of somebody's own said: candidates, ids or addresses, or a ranking of those."""
        if not isinstance(said, Ranking):
            return Ranking(self._names(said))
        parts: tuple[Any, ...] = tuple(said)  # of any types, whatever `Ranking` declares
        order, then, why, wake, sticky = parts
        if sticky is not None and not isinstance(sticky, Sticky):
            raise TypeError(f"sticky is no Sticky: {sticky!r}")
        woken = None if wake is None else self._names([wake])[0]
        return Ranking(self._names(order), self._names(then), str(why), woken, sticky)

    def _names(self, said: Iterable[Any]) -> tuple[InstanceId, ...]:
        by_url = {one.url: one.id for one in self._candidates}
        names = [one.id if isinstance(one, Candidate) else by_url.get(one, one) for one in said]
        return tuple(InstanceId(str(one)) for one in dict.fromkeys(names))

    def _check(self, ranking: Ranking) -> None:
        foreign = [one for one in (*ranking.order, *ranking.then) if one not in self._known]
        if foreign:
            raise StrategyRefused(
                f'The strategy "{self.settings.name}" named {str(foreign[0])[:100]!r}, which is no instance '
                f'of "{self.service}"; it has {", ".join(sorted(self._known))}.',
                remedy="correct the strategy: it returns ids or addresses of the candidates it is given",
                service_id=self.service,
            )

    # -- what fails ----------------------------------------------------------------------------

    def failed(self, use: Use, status: int) -> None:
        """A connection failed, or was broken off (status 0), or the answer had this status."""
        policy = self._policy
        if policy is None or (status and status not in policy.statuses):
            return
        name = use.key.instance
        failures = self._failures.get(name)
        if failures is None or not failures.is_of(use):
            failures = self._failures[name] = Failures(use)
        failures.note()
        if failures.in_row >= policy.after and name not in self._out:
            self._out[name] = self._all.clock() + policy.cool_down
            self._mark(name, ejected=True)
            log.warning(
                'Instance "%s" of "%s" is left out for %g s: %d failures in a row',
                name,
                self.service,
                policy.cool_down,
                failures.in_row,
                extra={"event_type": "instance_ejected", "service_id": self.service, "instance": name},
            )

    def _mark(self, name: InstanceId, *, ejected: bool) -> None:
        for candidate in self._candidates:
            if candidate.id == name:
                candidate.ejected = ejected

    def _look_at_outcasts(self, now: float) -> None:
        """Probe those whose time is over; one probe at a time, and none while nobody asks. What has ended
        since needs none: its next start shows whether it is well."""
        record = self._record
        for name, until in list(self._out.items()):
            slot = record.slots.get(name) if record is not None else None
            if now >= until and slot is not None and slot.settings.managed and slot.use is None:
                self._take_back(name, "may be started again")
            elif now >= until:
                self._out[name] = now + LOOK_PAUSE
                self._all.spawn(self._return(name), f"probe {self.service}/{name}")

    async def _return(self, name: InstanceId) -> None:
        if await self._all.instances.answers(self.service, name):
            self._take_back(name, "answers again")

    def _take_back(self, name: InstanceId, why: str) -> None:
        if self._out.pop(name, None) is None:
            return
        self._failures.pop(name, None)
        self._mark(name, ejected=False)
        log.info(
            'Instance "%s" of "%s" %s',
            name,
            self.service,
            why,
            extra={"event_type": "instance_returned", "service_id": self.service, "instance": name},
        )

    def _look(self, now: float) -> None:
        """See which of those that somebody else starts are there: nobody waits for one while others serve."""
        self._look_at = now + LOOK_PAUSE
        record = self._record
        slots = record.slots.values() if record is not None else ()
        if any(not slot.settings.managed and slot.use is None for slot in slots):
            self._all.spawn(self._look_now(), f"look for {self.service}")

    async def _look_now(self) -> None:
        await self._all.instances.look(self.service)

    def __repr__(self) -> str:
        return f"<Chooser {self.service} {self.settings.name} out={sorted(self._out)}>"


class Choosers:
    """Every service with a strategy. spawn: owns the tasks. failed: told service and strategy of each
    error."""

    def __init__(
        self,
        instances: Instances,
        *,
        clock: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None], str], object],  # Any: that is between it and the loop
        failed: Callable[[str, str], None] = lambda _service, _strategy: None,
    ) -> None:
        self.instances = instances
        self.clock = clock
        self.spawn = spawn
        self.errors: dict[ServiceId, str] = {}  # strategies that could not be made; why
        self._failed = failed
        self._made: dict[ServiceId, Chooser] = {}

    def update(self, settings: Settings) -> None:
        """Take new settings; a strategy whose options and instances are the same keeps what it remembers."""
        made: dict[ServiceId, Chooser] = {}
        self.errors = {}
        for service, one in settings.services.items():
            if one.strategy is None:
                continue
            before = self._made.get(service)
            if before is not None and before.settings == one.strategy and before.made_for == one.instances:
                made[service] = before
                continue
            try:
                strategy = one.strategy.plugin(one.strategy.options, one.instances)
                made[service] = Chooser(service, one.strategy, one.instances, strategy, self)
            except Exception as exc:  # boundary: its service goes on without it
                self.errors[service] = f"{type(exc).__name__}: {exc}"
                log.exception(
                    'The strategy "%s" of "%s" cannot be made; its instances are used in their order',
                    one.strategy.name,
                    service,
                    extra={"event_type": "strategy_broken", "service_id": service},
                )
        self._made = made

    def of(self, service: ServiceId) -> Chooser | None:
        """None where the service has no strategy (any more), or one that could not be made."""
        return self._made.get(service)

    def broken(self) -> dict[ServiceId, int]:
        """How often the strategy of each service failed since it was made, where it did."""
        return {service: one.broken for service, one in self._made.items() if one.broken}

    def broke(self, chooser: Chooser, exc: Exception) -> None:
        """A strategy raised."""
        chooser.broken += 1
        self._failed(chooser.service, chooser.settings.name)
        where = traceback.extract_tb(exc.__traceback__)[-1:]
        log.warning(
            'The strategy "%s" of "%s" failed (%s: %s); the configured order is used',
            chooser.settings.name,
            chooser.service,
            type(exc).__name__,
            exc,
            extra={
                "event_type": "strategy_failed",
                "service_id": chooser.service,
                "strategy": chooser.settings.name,
                "where": [f"{one.filename}:{one.lineno}" for one in where],
            },
        )

    def failed(self, service: ServiceId, use: Use, status: int) -> None:
        """An attempt failed."""
        if (chooser := self._made.get(service)) is not None:
            chooser.failed(use, status)
