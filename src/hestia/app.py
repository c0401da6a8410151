"""Composition root: the only module that knows concrete classes. Read `Hestia._compose` top to bottom.

`Hestia` is one gateway; `serve` runs it in the foreground (see `hestia.running`). `uvicorn hestia.app:app`
finds `app` here (made on first access, see `hestia.bridge`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from hestia import __version__, running
from hestia.api.application import create_api
from hestia.api.control import ConfigRow, ConfigView, Reload, RoutingView
from hestia.api.past import Past
from hestia.api.server import ControlServer, socket_path
from hestia.api.waiting import WaitingPages
from hestia.config import effective, load
from hestia.config.warned import warnings_of
from hestia.core.difference import Difference
from hestia.core.errors import ConfigError
from hestia.core.model import Endpoint, Settings
from hestia.core.ports import Engine, EngineContext, EnginePlugin, Recorder, Store
from hestia.core.strategy import Strategies
from hestia.doors import Doors
from hestia.edge.certificate import Certificate
from hestia.edge.given import Given
from hestia.edge.limits import OpenFiles, Room, open_files_at_start, open_files_limit
from hestia.edge.server import SWEEP_INTERVAL, EdgeServer
from hestia.engines.registry import EngineRegistry, load_engines
from hestia.http1.pool import Pool
from hestia.inward.dispatch import Dispatcher
from hestia.proxy.buffers import Buffers
from hestia.proxy.choosing import Choosers
from hestia.proxy.service import DataPath
from hestia.reloading import Reloader, told
from hestia.runtime import journeys, life
from hestia.runtime.gateway import Gateway
from hestia.runtime.records import Records, tell_events
from hestia.runtime.tasks import Tasks, first_of
from hestia.runtime.timeline import Timeline
from hestia.runtime.under_way import UnderWay
from hestia.store.choose import store_for
from hestia.store.folder import StateFolder
from hestia.strategies.registry import Finder
from hestia.takeover.new import Predecessor
from hestia.takeover.place import SETTLE, Place
from hestia.telemetry import logs
from hestia.telemetry.access import AccessLog
from hestia.telemetry.batches import Reader
from hestia.telemetry.engines import measured
from hestia.telemetry.metrics import Metrics
from hestia.telemetry.recorder import LogRecorder, Recorders
from hestia.telemetry.traces import Traces
from hestia.telemetry.writer import Stream

if TYPE_CHECKING:
    from hestia.bridge import Bridge

log = logging.getLogger(__name__)

STOP_LIMIT: Final = 30.0  # seconds services get to stop at exit, their own grace included
DRAIN_LIMIT: Final = 30.0  # seconds open exchanges get to finish (DR-02)


OnStarted = Callable[["Hestia", Mapping[str, str]], None]


class Hestia:
    """One gateway: built, started, closed. Constructors only store; `start` does the work.

    access_log: where access lines go when the settings want them; None is standard error. plugins: engine
    name → plug-in, None finds the installed ones. unix_path: a socket to listen on instead of TCP; who
    speaks there is trusted to name the client (the bridge). given: sockets that listen already.
    """

    gateway: Gateway
    metrics: Metrics
    past: Records
    reloads: Reloader
    address: tuple[str, int]  # where it listens; (unix_path, 0) on a unix socket

    def __init__(
        self,
        settings: Settings,
        *,
        access_log: Stream | None = None,
        plugins: Mapping[str, EnginePlugin] | None = None,
        store: Store | None = None,
        recorder: Recorder | None = None,
        unix_path: str = "",
        reload_from: Callable[[], Settings] | None = None,
        given: Given | None = None,
    ) -> None:
        self._given = given or Given()
        self._jobs = Tasks()  # of the life of services; the others are of the data path and the API
        self.place: Place | None = None  # what another gateway may take
        self.settings = settings
        self._access_stream = access_log
        self._plugins = plugins
        self._store: Store = store or store_for(settings.gateway)
        self._recorder: Recorder = recorder or LogRecorder()
        self._unix_path = unix_path
        self._reload_from = reload_from or (lambda: settings)
        self._tasks = Tasks()
        self._state = StateFolder(settings.gateway.state_dir)
        self._cleanup = contextlib.AsyncExitStack()
        self._edge: EdgeServer | None = None
        self.buffers = Buffers()
        self._hurry = asyncio.Event()

    async def start(self) -> None:
        """Listen when this returns. Raises ConfigError, OSError (the address cannot be used)."""
        try:
            await self._compose()
        except BaseException:
            await self.aclose(drain=0.0)
            raise

    async def _compose(self) -> None:
        """Build in the order of use. What is pushed on `_cleanup` is undone in the opposite order."""
        settings, clock = self.settings.gateway, asyncio.get_running_loop().time
        cleanup = self._cleanup
        gateway_id = self._state.open()
        cleanup.callback(self._state.close)
        if self._state.trouble:
            log.error("%s", self._state.trouble, extra={"event_type": "state_folder_trouble"})
        cleanup.push_async_callback(self._store.aclose)
        memory = await self._store.open(gateway_id)
        cleanup.push_async_callback(self._tasks.aclose)
        cleanup.push_async_callback(self._jobs.aclose)
        timeline = Timeline(clock)
        past = self.past = Records(
            self._store, timeline, clock=clock, told=lambda record: tell_events(record, self.gateway.note)
        )
        cleanup.callback(past.close)
        metrics = self.metrics = self._make_metrics(past, clock)
        traces = self._make_traces(timeline, gateway_id, clock)
        if traces is not None:
            cleanup.push_async_callback(traces.aclose)
            metrics.batches.add(traces)
        cleanup.callback(metrics.batches.close)
        self._context = EngineContext(gateway_id, self._engine_folder(), open_files_at_start())
        before = {kept.intent.engine for kept in memory.kept}
        if before:
            before &= self._known_engines()
        engines = self._make_engines(self.settings.engines() | before, self.settings)
        for engine in engines.values():
            cleanup.push_async_callback(engine.aclose)
        pool = Pool(spawn=self._tasks.spawn, clock=clock)
        cleanup.callback(pool.close)
        self.gateway = Gateway(
            self.settings,
            gateway=gateway_id,
            engines=engines,
            store=self._store,
            recorder=Recorders(
                self._recorder, metrics.lives, timeline, *([traces] if traces is not None else [])
            ),
            tasks=self._jobs,
            version=__version__,
            closed=pool.forget,
            lag=lambda: metrics.lag.lasting,
        )
        life.tell_before(memory, self.gateway.note)
        self.gateway.restore(memory)
        self.reloads = Reloader(
            self.settings,
            load=self._reload_from,
            apply=self._apply,
            told=self._note_reload,
            spawn=self._tasks.spawn,
        )
        self._choosers = Choosers(
            self.gateway.several, clock=clock, spawn=self._tasks.spawn, failed=metrics.strategies.failed
        )
        self._choosers.update(self.settings)
        control_path = socket_path(settings.state_dir, cleanup, writable=not self._state.trouble)
        dispatcher = self._dispatcher(os.path.join(os.path.dirname(control_path), "edge"))
        inside = f"/-/{token_urlsafe(16)}"  # nobody but the data path knows this path
        api = create_api(
            self.gateway,
            dispatch=dispatcher.call,
            version=__version__,
            config=self._config_view,
            reloads=self.reloads,
            routing=self._routing_view,
            numbers=metrics,
            waiting=WaitingPages(
                self.gateway,
                self.gateway.visits,
                inside,
                template=lambda: self.settings.gateway.waiting_page,
            ),
            past=Past(
                past,
                self._store,
                self.gateway.feed,
                fresh=metrics.batches.hand_on,
                under_way=UnderWay(
                    lambda one: self._doors.under_way(self._edge, one),
                    self.gateway.world.services,
                    timeline,
                ).request,
                days=settings.retention.days,
            ),
        )
        control = ControlServer(api, control_path, spawn=self._tasks.spawn)
        await control.start()
        cleanup.push_async_callback(control.aclose)
        pools = (pool, dispatcher.pool)
        files = OpenFiles(
            lambda: self.open_connections + sum(sum(dataclasses.astuple(one.statistics())) for one in pools)
        )
        path = partial(
            DataPath,
            leases=self.gateway,
            choosers=self._choosers,
            pool=pool,
            control=Endpoint("http", "", 0, unix_path=control.path),
            on_done=metrics.batches.record,
            clock=clock,
            buffers=self.buffers,
            pseudonym=f"hestia-{gateway_id}",  # two gateways in a row are no loop
            trust_unix=bool(self._unix_path),
            is_full=files.is_full,
            traced=traces is not None,
            pages=self.gateway.visits,
            inside=inside,
        )
        self._doors = doors = Doors(self.settings, path, unix_path=self._unix_path)
        private = dispatcher.edge.unix_path
        cleanup.callback(self._unlink, private)
        self._edge = edge = EdgeServer(
            [*doors.all(), doors.private(private, dispatcher.seal)],
            refuse=doors.main.refusal,
            clock=clock,
            spawn=self._tasks.spawn,
            swept=(pool.sweep, dispatcher.pool.sweep, files.look, metrics.lag.look, self.reloads.look),
            room=Room(open_files_limit(), settings.trusted_proxies),
            certificate=Certificate(settings.tls) if settings.tls is not None else None,
            given=self._given,
        )
        cleanup.push_async_callback(edge.aclose)
        metrics.watch(
            lambda: self.gateway.world.services,
            {
                "hestia_upstream_connections": lambda: dataclasses.asdict(pool.to_services()),
                "hestia_client_connections": lambda: {"": self.open_connections},
                "hestia_body_buffer_bytes": lambda: {"": self.buffers.held},
            },
        )
        self.place = Place(edge, self.gateway, engines, self._store, self._state, control, self._jobs)
        self.gateway.watch_engines()
        await edge.start()
        life.begun(self._store, self.gateway.note, __version__)
        files.look(clock())
        self.address = (self._unix_path, 0) if self._unix_path else edge.addresses()[0]

    # -- new settings --------------------------------------------------------------------------

    def reload_soon(self, actor: str) -> None:
        """Read the configuration again; the log says what came of it."""
        if self._edge is not None and not self._is_given_up:
            self._tasks.spawn(self.reloads.reload(actor), "reload")

    def _note_reload(self, reload: Reload) -> None:
        if self._edge is None or self._is_given_up:
            return  # the timeline is the next one's
        event = "ConfigReloaded" if reload.ok else "ConfigRefused"
        self.gateway.note(event, cause="config", actor=reload.actor, data=told(reload))

    async def _apply(self, new: Settings, found: Difference) -> None:
        """Take new settings in one step, after all that may fail. Raises ConfigError."""
        edge = self._edge
        if edge is None or self._is_given_up:
            raise ConfigError("The gateway is ending.")
        opened = await self._doors.open(edge, new)
        try:
            if self._edge is not edge:
                raise ConfigError("The gateway is ending.")
            engines = self._make_engines(new.engines() - set(self.gateway.engines), new)
        except BaseException:
            self._doors.give_up(edge, opened)
            raise
        for name, engine in engines.items():
            self._cleanup.push_async_callback(engine.aclose)
            self.gateway.use_engine(name, engine)
        self.settings = new
        self._choosers.update(new)
        self._doors.take(edge, new)  # first: who waits may be served by the next line
        self.gateway.reconfigure(new, found)
        logs.set_level(new.gateway.log_level)

    def _dispatcher(self, path: str) -> Dispatcher:
        """The dispatcher of the control API, with connections of its own to the private door at `path`."""
        dispatcher = Dispatcher(
            path,
            spawn=self._tasks.spawn,
            clock=asyncio.get_running_loop().time,
            memory=self.buffers,
            identity=lambda: {one.lower().encode() for one in self.settings.gateway.identity_headers},
        )
        self._cleanup.callback(dispatcher.pool.close)
        return dispatcher

    def _unlink(self, path: str) -> None:
        if not self._is_given_up:
            Path(path).unlink(missing_ok=True)

    def _engine_folder(self) -> str:
        """Where engines keep notes and output; a temporary one where services are to start all the same."""
        settings = self.settings.gateway
        if not (self._state.trouble and settings.start_without_store):
            return settings.state_dir
        folder = tempfile.mkdtemp(prefix="hestia-")
        self._cleanup.callback(self._remove, folder)
        return folder

    def _remove(self, folder: str) -> None:
        if self.place is None or not self.staying():  # else the output of what runs on is in there
            shutil.rmtree(folder, ignore_errors=True)

    def _known_engines(self) -> set[str]:
        """Names of the engines that can be made here."""
        if self._plugins is not None:
            return set(self._plugins)
        registry = EngineRegistry()
        return {*registry.names(), *_own_engines(self.settings)} - set(registry.failures())

    def _make_engines(self, names: set[str], settings: Settings) -> dict[str, Engine]:
        """One engine object for each name; installed ones come before those of files. Raises ConfigError."""
        plugins = self._plugins
        if plugins is None:
            registry = EngineRegistry()
            own = {name: one for name, one in _own_engines(settings).items() if name not in registry.names()}
            plugins = {name: own.get(name) or registry.plugin(name) for name in names}
        return {name: self._make_engine(name, plugins[name]) for name in sorted(names)}

    def _make_engine(self, name: str, plugin: EnginePlugin) -> Engine:
        context = dataclasses.replace(self._context, configured=lambda: self.settings.options_for(name))
        return measured(plugin(context), self.metrics.calls)

    def _make_metrics(self, past: Records, clock: Callable[[], float]) -> Metrics:
        """What counts; `explain` and the access log, if it is on, read the same records."""
        settings = self.settings.gateway
        readers: list[Reader] = [past]
        if settings.access_log:
            form = logs.choose_form(settings.log_format, terminal=sys.stderr.isatty())
            readers.append(AccessLog(self._access_stream or sys.stderr.buffer, form=form))
        return Metrics(*readers, version=__version__, interval=SWEEP_INTERVAL, clock=clock)

    def _make_traces(self, timeline: Timeline, gateway: str, clock: Callable[[], float]) -> Traces | None:
        """What sends traces, where the settings want them. Raises ConfigError."""
        settings = self.settings.gateway
        if settings.telemetry is None:
            return None
        try:
            from hestia.telemetry.otel import OtlpSender  # an extra
        except ImportError as exc:
            raise ConfigError(f"telemetry: {exc}", remedy="pip install 'hestia[otel]'") from exc
        scheme = "https" if settings.tls is not None else "http"
        return Traces(
            OtlpSender(
                settings.telemetry,
                version=__version__,
                instance=gateway,
                scheme=scheme,
                counts=self.metrics.traces,
            ),
            sample=settings.telemetry.sample,
            tell=partial(journeys.tell, timeline=timeline),
            scheme=scheme,
            clock=clock,
        )

    def _config_view(self) -> ConfigView:
        rows = tuple(ConfigRow(row.key, row.value, row.source) for row in effective(self.settings))
        return ConfigView(
            path=self.settings.config_path,
            rows=rows,
            warnings=warnings_of(self.settings),
            reload=self.reloads.last_reload,
        )

    def _routing_view(self) -> RoutingView:
        services = [one for one in self.settings.services.values() if one.strategy or len(one.instances) > 1]
        known, choosers = self.settings.strategies or Strategies(), self._choosers
        return RoutingView(known, services, choosers.errors, choosers.broken())

    # -- the end -------------------------------------------------------------------------------

    def staying(self) -> list[str]:
        """What runs on without a gateway, as `service/instance`."""
        return [] if self._is_given_up else self.gateway.staying()

    def hurry(self) -> None:
        """A second wish to end: cut what is open, give services no further grace."""
        self._hurry.set()

    @property
    def _is_given_up(self) -> bool:
        return self.place is not None and self.place.is_given_up

    def own_address(self, service: str) -> tuple[str, int]:
        """Where a service with a port of its own listens."""
        assert self._edge is not None
        return self._edge.addresses(self._doors.of(service))[0]

    @property
    def open_connections(self) -> int:
        """Connections of clients."""
        return self._edge.open if self._edge is not None else 0

    async def aclose(self, *, drain: float = DRAIN_LIMIT, everything: bool = False) -> list[str]:
        """Let open exchanges finish for `drain` seconds, then stop what does not stay (`on_exit`).

        everything: stop it all. Returns instances that did not stop, as `service/instance`. Safe to call
        twice.
        """
        left: list[str] = []
        try:
            if self._edge is not None:
                edge, self._edge = self._edge, None
                self.gateway.drain()
                if self._given.any_address:  # systemd listens on: who came through here is not to be cut
                    await first_of(edge.settle(SETTLE), self._hurry)
                edge.stop_accepting()
                await first_of(edge.drain(drain), self._hurry)
                edge.cut()
                if self._is_given_up:
                    return left
                stopping = self._tasks.spawn(self._stop_services(left, everything), "stop services")
                await first_of(asyncio.shield(stopping), self._hurry)
                if not stopping.done():
                    self.gateway.hurry(everything=everything)
                    await stopping
        finally:
            await self._cleanup.aclose()
        return left

    async def _stop_services(self, left: list[str], everything: bool) -> None:
        left += await self.gateway.stop_all(timeout=STOP_LIMIT, everything=everything)
        life.ended(self._store, self.gateway.note, left)


def _own_engines(settings: Settings) -> dict[str, EnginePlugin]:
    """Engines that files of the user's bring, by name."""
    found = settings.strategies
    return {} if found is None else {name: one.plugin for name, one in found.engines.items()}


def serve(
    settings: Settings,
    *,
    on_started: OnStarted,
    reload_from: Callable[[], Settings] | None = None,
    before: Predecessor | None = None,
) -> int:
    """Run one gateway until SIGTERM or Ctrl-C; see `running.serve`. Raises ConfigError, OSError.

    reload_from: reads the settings again.
    """
    make = partial(Hestia, settings, reload_from=reload_from)
    return running.serve(
        settings, lambda log, given: make(access_log=log, given=given), on_started, before=before
    )


async def _start_bridged(unix_path: str) -> running.Bridged:
    """A gateway as `hestia serve` runs it, on a unix socket. Raises ConfigError, OSError."""
    engines = {name: plugin.Options for name, plugin in load_engines().items()}
    read = partial(load, path=None, environ=os.environ, cwd=os.getcwd(), engines=engines, strategies=Finder())
    settings = read()
    return await running.start_bridged(
        settings, lambda log: Hestia(settings, access_log=log, unix_path=unix_path, reload_from=read)
    )


_bridge: list[Bridge] = []


def __getattr__(name: str) -> Bridge:
    """`app` for `uvicorn hestia.app:app`, made when it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hestia.bridge import Bridge  # nobody else needs it

    if not _bridge:
        _bridge.append(Bridge(_start_bridged))
    return _bridge[0]
