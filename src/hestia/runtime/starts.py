"""One start and one stop, as jobs. They belong to the instance, never to a request.

A job performs what the world decided and reports back as events; it takes no decision about state. A
start: look whether somebody else already serves there, store the intent, ask the engine, probe. A stop:
wait for the start it ends, keep the last lines, ask the engine to stop and confirm. Both end in a
boundary that turns any exception into an event (SF-15).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from hestia.core import lifecycle as lc
from hestia.core.errors import (
    EngineError,
    EngineRefused,
    EngineUnavailable,
    HestiaError,
    InternalError,
    StartError,
    StartFailed,
    StartTimeout,
    StoreUnavailable,
)
from hestia.core.model import (
    LOCAL,
    Endpoint,
    External,
    InstanceKey,
    InstanceSettings,
    MachineId,
    ServiceSettings,
)
from hestia.core.ports import (
    Engine,
    Found,
    Handle,
    Intent,
    Observed,
    Presence,
    Recorder,
    Started,
    StartSpec,
    Store,
)
from hestia.core.secrets import Secrets
from hestia.core.urls import fill_port, parse_base_url, uses_port_mark
from hestia.runtime.history import StageClock
from hestia.runtime.probes import Answer, Prober, Target, ask, exit_error, target_for

log = logging.getLogger(__name__)

TAIL_LINES = 20
TAIL_TIMEOUT = 2.0  # seconds for fetching the last lines of output
LOOK_TIMEOUT = 0.5  # seconds for the look before a start (RD-03) and for status (RD-15)
GIVE_UP_START = 10.0  # seconds a cancelled start may take to clean up before the stop goes on


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at a fixed address. endpoint: where requests go; `target` is what was asked."""

    endpoint: Endpoint
    target: Target
    answer: Answer


class StartJob:
    """What is known of one running start. exited: set by the watcher when the engine reports the end."""

    __slots__ = ("clock", "episode", "exited", "handle", "key", "prober", "task")

    def __init__(self, key: InstanceKey, episode: str, now: float) -> None:
        self.key = key
        self.episode = episode
        self.clock = StageClock(now)
        self.exited: asyncio.Future[Observed] = asyncio.get_running_loop().create_future()
        self.handle: Handle | None = None
        self.prober: Prober | None = None
        self.task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<StartJob {self.key} stages={[name for name, _, _ in self.clock.stages]}>"


class JobReport:
    """The `Report` an engine gets: stages to the timeline, handles to the world at once."""

    def __init__(
        self,
        job: StartJob,
        happened: Callable[[lc.Event], None],
        store: Store,
        recorder: Recorder,
        hide: Callable[[str], str],
    ) -> None:
        self._hide = hide
        self._job = job
        self._happened = happened
        self._store = store
        self._recorder = recorder

    def stage(self, name: str, text: str) -> None:
        text = self._hide(text)
        self._job.clock.enter(name, text, asyncio.get_running_loop().time())
        key = self._job.key
        self._recorder.stage(key.service, key.instance, name, text, self._job.episode)

    def line(self, text: str) -> None:
        text = self._hide(text)
        key = self._job.key
        self._recorder.stage(key.service, key.instance, "output", text, self._job.episode)

    def made(self, handle: Handle) -> None:
        key = self._job.key
        self._job.handle = handle
        self._store.handle_made(key, handle)
        self._happened(
            lc.HandleMade(
                service=key.service, instance=key.instance, generation=key.generation, handle=handle
            )
        )


class Jobs:
    """Runs starts and stops against the engines. happened: takes an event into the world.

    settled: returns when nothing that an earlier gateway started stands in the way of this start; true when
    it runs already. serves_elsewhere: whether another instance or a fallback serves. handle_of: the handle
    of a generation that an earlier gateway started and did not note. address_of: of a machine, "" where none
    is configured.
    """

    def __init__(
        self,
        *,
        engines: Mapping[str, Engine],
        store: Store,
        recorder: Recorder,
        happened: Callable[[lc.Event], None],
        is_current: Callable[[InstanceKey], bool],
        settled: Callable[[InstanceKey, str], Awaitable[bool]],
        serves_elsewhere: Callable[[InstanceKey], bool],
        address_of: Callable[[MachineId], str],
        secrets: Secrets,
        handle_of: Callable[[InstanceKey, str], Awaitable[Handle | None]],
    ) -> None:
        self._engines = engines
        self._store = store
        self._recorder = recorder
        self._happened = happened
        self._is_current = is_current
        self._settled = settled
        self._serves_elsewhere = serves_elsewhere
        self._address_of = address_of
        self._secrets = secrets
        self._handle_of = handle_of

    # -- start ---------------------------------------------------------------------------------

    async def start(self, job: StartJob, service: ServiceSettings, instance: InstanceSettings) -> None:
        """Run one start to its event. Cancelled: leaves at most a handle that was reported."""
        limit = service.appear_timeout if not instance.managed else service.start_timeout
        await self._bounded(job, service, instance, limit, self._start)

    async def adopt(
        self, job: StartJob, service: ServiceSettings, instance: InstanceSettings, found: Found, *, ends: bool
    ) -> None:
        """Bring what an earlier gateway started back into service; hot only after a probe (AD-14).

        ends: its stop was decided already: it goes on (AD-13).
        """

        async def adopted(
            job: StartJob, service: ServiceSettings, instance: InstanceSettings, report: JobReport
        ) -> None:
            observed, endpoint = found.observed, found.observed.endpoint
            report.made(found.handle)
            if observed.pending and not ends:  # followed to its end, not begun again (AD-15)
                await self._call(job, service, instance, report)
                return
            if ends or endpoint is None:
                cause = "resumed" if ends else "no_endpoint"
                self._event(lc.StopRequested, job.key, busy=False, keep_waiters=True, cause=cause)
                return
            started = Started(found.handle, endpoint, observed.health_url)
            await self._runs(job, service, instance, started, report)

        await self._bounded(job, service, instance, service.start_timeout, adopted)

    async def resume(self, job: StartJob, service: ServiceSettings, instance: InstanceSettings) -> None:
        """Go on with a start of which the engine cannot say what came: with its key it is no second one."""

        async def resumed(
            job: StartJob, service: ServiceSettings, instance: InstanceSettings, report: JobReport
        ) -> None:
            await self._call(job, service, instance, report)

        await self._bounded(job, service, instance, service.start_timeout, resumed)

    async def _bounded(
        self,
        job: StartJob,
        service: ServiceSettings,
        instance: InstanceSettings,
        limit: float,
        work: Callable[[StartJob, ServiceSettings, InstanceSettings, JobReport], Awaitable[None]],
    ) -> None:
        """Do the work of a start within `limit` seconds; whatever goes wrong becomes its event."""
        report = JobReport(job, self._happened, self._store, self._recorder, self._secrets.hide)
        try:
            async with asyncio.timeout(limit):
                await work(job, service, instance, report)
        except TimeoutError:
            await self._failed(job, instance, self._timed_out(job, service, instance, limit))
        except HestiaError as error:
            await self._failed(job, instance, error)
        except Exception as exc:  # boundary: a bug in an engine or in us answers the waiters (SF-15)
            broken = InternalError(
                f"Starting failed inside Hestia ({type(exc).__name__}: {exc}).",
                remedy="report it with what this prints: hestia doctor --report",
                stage="engine",
            )
            log.exception("A start broke", extra={"event_type": "start_broke", "service_id": service.id})
            await self._failed(job, instance, broken)

    async def _start(
        self, job: StartJob, service: ServiceSettings, instance: InstanceSettings, report: JobReport
    ) -> None:
        key = job.key
        self._engine(instance)  # there is one
        fixed = not uses_port_mark(instance.base_url) and bool(instance.base_url)
        runs = instance.managed and await self._settled(key, instance.engine)
        if instance.managed and fixed and not runs and await self._answers_already(job, service, instance):
            return
        report.stage("engine", f"{instance.engine}: starting")
        if instance.managed:
            await self._store.intend(
                Intent(
                    key=key,
                    engine=instance.engine,
                    options_hash=instance.options_hash,
                    episode=job.episode,
                    at=time.time(),
                )
            )
        await self._call(job, service, instance, report)

    async def _call(
        self, job: StartJob, service: ServiceSettings, instance: InstanceSettings, report: JobReport
    ) -> None:
        """Ask the engine to start it, or to go on with it, and probe what runs."""
        key, engine = job.key, self._engine(instance)
        spec = StartSpec(
            options=instance.options,
            options_hash=instance.options_hash,
            base_url=instance.base_url,
            health_url=instance.health_url,
            address=self._address_of(instance.machine),
        )
        started = await engine.start(spec, key, report)
        job.handle = started.handle
        if not self._is_current(key):  # given up meanwhile; nobody may use it (SF-08)
            await engine.stop(started.handle, grace=service.stop_grace)
            return
        await self._runs(job, service, instance, started, report)

    async def _runs(
        self,
        job: StartJob,
        service: ServiceSettings,
        instance: InstanceSettings,
        started: Started,
        report: JobReport,
    ) -> None:
        """It runs: publish where, and go on to the first answer that says it is ready."""
        key = job.key
        self._store.noted(key, endpoint=str(started.endpoint), health_url=started.health_url)
        self._event(lc.EngineStarted, key, handle=started.handle, endpoint=started.endpoint)
        await self._probe(job, service, instance, started, report)
        if instance.managed:
            await self._check_alive(self._engine(instance), started)
        job.clock.finish(asyncio.get_running_loop().time())
        self._event(lc.ProbePassed, key)

    async def _probe(
        self,
        job: StartJob,
        service: ServiceSettings,
        instance: InstanceSettings,
        started: Started,
        report: JobReport,
    ) -> None:
        health = started.health_url or fill_port(instance.health_url, started.endpoint.port)
        target = target_for(started.endpoint, health, tls_verify=service.tls_verify)
        if not health and instance.warmup:
            report.stage("boot", f"warm-up of {instance.warmup:g} s")
            done, _ = await asyncio.wait({job.exited}, timeout=instance.warmup)
            if done:
                raise exit_error(job.exited.result())
        report.stage("probe", f"{'GET' if target.path else 'connect'} {target.url}")
        job.prober = Prober(target, clock=asyncio.get_running_loop().time)
        waits = instance.managed
        if not await job.prober.wait_ready(
            job.exited, gives_up=lambda: not waits and self._serves_elsewhere(job.key)
        ):
            raise StartTimeout(
                f"Nobody listens at {job.prober.target.url}, and "
                f"{'its fallback' if service.fallback_url else 'another instance'} serves meanwhile.",
                remedy="start it yourself, or let Hestia do it with an `engine`",
                cause="refused",
                stage="probe",
                service_id=service.id,
            )

    async def _check_alive(self, engine: Engine, started: Started) -> None:
        """The answer must come from what we started, not from a left-over on its port (RD-03)."""
        observed = await engine.inspect(started.handle)
        if observed.presence is Presence.GONE:
            raise exit_error(observed)

    async def _answers_already(
        self, job: StartJob, service: ServiceSettings, instance: InstanceSettings
    ) -> bool:
        """Look before starting on a fixed address: somebody else may serve there already (RD-03)."""
        endpoint = parse_base_url(instance.base_url)
        target = target_for(endpoint, instance.health_url, tls_verify=service.tls_verify)
        answer = await ask(target, timeout=LOOK_TIMEOUT)
        if answer.ready and service.external is External.ADOPT:
            self._event(lc.EngineStarted, job.key, handle={}, endpoint=endpoint, external=True)
            job.clock.finish(asyncio.get_running_loop().time())
            self._event(lc.ProbePassed, job.key)
            return True
        taken = answer.ready or answer.status or "closes them at once" in answer.text
        if taken and (answer.ready or instance.machine == LOCAL):  # elsewhere something may stand in front
            raise EngineRefused(
                f"Something else already listens at {endpoint}: the probe got {answer.text}.",
                permanent=False,
                resource="port",
                remedy="stop it, or give the service another port ({port} picks a free one)",
                cause="endpoint_taken",
                stage="engine",
            )
        return False

    async def _failed(self, job: StartJob, instance: InstanceSettings, error: HestiaError) -> None:
        """Report the failure, with the last lines of output fetched before anything is cleaned up."""
        error.service_id = error.service_id or job.key.service
        if not error.tail and job.handle:
            error.tail = await self.tail(instance, job.handle)
        if isinstance(error, StartFailed) and error.tail:
            error.remedy = error.remedy or f"hestia logs {job.key.service}"
        job.clock.finish(asyncio.get_running_loop().time())
        again = (isinstance(error, EngineRefused) and not error.permanent and error.stage == "engine") or (
            isinstance(error, EngineUnavailable) and not error.sent
        )
        again = again and not isinstance(error, StoreUnavailable)
        self._event(lc.StartFailed, job.key, error=error, left_over=bool(job.handle), again=again)

    def _timed_out(
        self, job: StartJob, service: ServiceSettings, instance: InstanceSettings, limit: float
    ) -> StartError:
        prober = job.prober
        if not instance.managed:
            return self._never_appeared(prober, service, instance, limit)
        stage = job.clock.stages[-1][0] if job.clock.stages else "engine"
        seen = (
            f" The last probe of {prober.target.url} got: {prober.last.text}."
            if prober and prober.last
            else ""
        )
        return StartTimeout(
            f'"{service.id}" runs but was not ready within {limit:g} s (start_timeout).{seen}',
            remedy=f"raise services.{service.id}.start_timeout, or correct health_url",
            cause="timeout",
            stage=stage,
            service_id=service.id,
            retry_after=5.0,
        )

    @staticmethod
    def _never_appeared(
        prober: Prober | None, service: ServiceSettings, instance: InstanceSettings, limit: float
    ) -> StartError:
        """Engine `none`: nobody here can start it, so name the address that does not answer (RD-17)."""
        last: Answer | None = prober.last if prober else None
        url = prober.target.url if prober else instance.base_url
        return StartTimeout(
            f'Nothing that is ready answers for "{service.id}" at {url}: '
            f"{last.text if last else 'no answer'}, after {limit:g} s (appear_timeout).",
            remedy=f"start it yourself, or let Hestia do it: services.{service.id}.engine",
            cause="refused" if last is None or last.refused else "timeout",
            stage="probe",
            service_id=service.id,
            retry_after=5.0,
        )

    # -- stop ----------------------------------------------------------------------------------

    async def stop(
        self,
        key: InstanceKey,
        instance: InstanceSettings,
        *,
        handle: Handle | None,
        start: StartJob | None,
        grace: float,
        error: HestiaError | None,
    ) -> None:
        """Stop one generation and confirm. error: the crash that led here; it gets its last lines."""
        engine = self._engine(instance)
        try:
            if start is not None and start.task is not None and not start.task.done():
                await asyncio.wait({start.task}, timeout=GIVE_UP_START)
            handle = (start.handle if start is not None else None) or handle
            if not handle:
                handle = await self._handle_of(key, instance.engine)
            if error is not None and handle and not error.tail:
                error.tail = await self.tail(instance, handle)
            if handle:
                await engine.stop(handle, grace=grace)
        except EngineError as refused:
            refused.service_id = key.service
            self._event(lc.StopFailed, key, error=refused)
        except Exception as exc:  # boundary: a stop that breaks leaves the instance stuck, and says so
            broken = InternalError(
                f"Stopping failed inside Hestia ({type(exc).__name__}: {exc}).", service_id=key.service
            )
            log.exception("A stop broke", extra={"event_type": "stop_broke", "service_id": key.service})
            self._event(lc.StopFailed, key, error=broken)
        else:
            self._event(lc.StopFinished, key)

    async def hurry(self, instance: InstanceSettings, handle: Handle) -> None:
        """End the grace of a stop under way: ask again without any."""
        try:
            await self._engine(instance).stop(handle, grace=0.0)
        except EngineError:
            return  # the stop under way reports what is the matter

    # -- both ----------------------------------------------------------------------------------

    async def tail(self, instance: InstanceSettings, handle: Handle) -> tuple[str, ...]:
        """The last lines of output, oldest first; none where the engine has none or does not answer."""
        lines = b""
        try:
            async with asyncio.timeout(TAIL_TIMEOUT):
                async with aclosing(self._engine(instance).logs(handle, follow=False)) as pieces:  # type: ignore[type-var]  # engines implement it as an async generator
                    async for piece in pieces:
                        lines = (lines + piece)[-64 * 1024 :]
        except (EngineError, TimeoutError, OSError):
            return ()
        last = lines.splitlines()[-TAIL_LINES:]
        return self._secrets.hide_all([line.decode("utf-8", "replace") for line in last])

    async def look(self, service: ServiceSettings, instance: InstanceSettings) -> Look | None:
        """Probe the fixed address of an instance once; None when it has none."""
        if not instance.base_url or uses_port_mark(instance.base_url, instance.health_url):
            return None
        endpoint = parse_base_url(instance.base_url)
        target = target_for(endpoint, instance.health_url, tls_verify=service.tls_verify)
        return Look(endpoint, target, await ask(target, timeout=LOOK_TIMEOUT))

    def _engine(self, instance: InstanceSettings) -> Engine:
        try:
            return self._engines[instance.engine]
        except KeyError:
            raise EngineRefused(
                f'There is no engine "{instance.engine}" here.',
                permanent=True,
                remedy="install the package that brings it, or name another engine",
                cause="not_found",
            ) from None

    def _event(self, kind: type[lc.Event], key: InstanceKey, **data: object) -> None:
        self._happened(kind(service=key.service, instance=key.instance, generation=key.generation, **data))
