"""Checked keys → `core.model.Settings`, and everything that only shows when keys are seen together.

Owns the defaults that depend on other keys (`ollama`, `{port}`, where state is kept) and the combinations
that cannot work. Reads nothing: what is on the PATH is asked through `which`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final

from pydantic import BaseModel

from hestia.config import later
from hestia.config.check import Checker
from hestia.config.combinations import check_limits
from hestia.config.convert import (
    ELSEWHERE_TIMEOUT,
    holds_port,
    main_instance,
    settings_of,
)
from hestia.config.dependencies import with_dependencies
from hestia.config.errors import nearest, one_of, show
from hestia.config.make_instances import ANY_PORT_URL, check_mark, make_instances
from hestia.config.models import BackoffKeys, ServiceKeys, kind_of, spellings
from hestia.config.room import warnings as room_warnings
from hestia.config.room import with_room
from hestia.config.routing import read_strategy
from hestia.config.rules import Nested
from hestia.config.semaphore import ENGINE as SEMAPHORE
from hestia.config.semaphore import Semaphore
from hestia.config.several import MAIN, Written, machine_of
from hestia.config.tree import Node
from hestia.config.values import duration_text
from hestia.core.model import (
    Backoff,
    Endpoint,
    GatewaySettings,
    InstanceId,
    InstanceSettings,
    Machine,
    MachineId,
    ServiceId,
    ServiceSettings,
)
from hestia.core.strategy import Strategies
from hestia.core.urls import PORT_MARK, parse_base_url, uses_port_mark

OLLAMA: Final = "ollama"
OLLAMA_URL: Final = "http://localhost:11434"
_NESTED: Final = frozenset(
    name for name, field in ServiceKeys.model_fields.items() if isinstance(kind_of(field), Nested)
)
_LOOPBACK_NAMES: Final = ("localhost", "localhost.localdomain", "ip6-localhost")


@dataclass(frozen=True, slots=True)
class Own:
    """The gateway's own address. names: of this machine. doors: every port it listens on."""

    host: str
    port: int
    names: frozenset[str] = frozenset()
    doors: frozenset[int] = frozenset()

    def is_here(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint is this gateway."""
        if endpoint.unix_path or not endpoint.port or endpoint.port not in {self.port, *self.doors}:
            return False
        return is_this_machine(endpoint.host) or endpoint.host in {self.host, *self.names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What building asks of its surroundings. gateway: what the top of the file says. machines: None where
    they could not be read."""

    engines: Mapping[str, type[BaseModel]]
    which: Callable[[str], str | None]
    environ: Mapping[str, str]
    own: Own
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    strategies: Strategies = field(default_factory=Strategies)
    machines: Mapping[MachineId, Machine] | None = field(default_factory=dict)


_OWN_WAY: Final = ("engine", "restart_backoff", "instances", "routing")  # keys with a check of their own


class Builder:
    """Builds services one by one; `finish` looks at them together."""

    def __init__(self, checker: Checker, around: Around) -> None:
        self.services: dict[ServiceId, ServiceSettings] = {}
        self.warnings: list[str] = []
        self.sources: dict[str, str] = {}
        self._checker = checker
        self._around = around
        self._semaphore = Semaphore(checker, around.gateway, around.engines.get(SEMAPHORE))
        self._homes: dict[str, dict[str, Node]] = {}  # service → its nodes, for problems found late
        self._spots: dict[
            tuple[str, InstanceId], tuple[str, Node]
        ] = {}  # instance → key and node of its address

    def add(self, service: str, given: Mapping[str, Node], place: Node) -> None:
        """Build one service. given: field → node of all sources. place: where the service is named."""
        path = f"services.{service}"
        engine_node = given.get("engine")
        before = len(self._checker.problems)
        keys = self._checker.values(
            ServiceKeys,
            {name: node for name, node in given.items() if name not in _OWN_WAY},
            path,
        )
        backoff = self._backoff(given, path)
        engine = self._engine(engine_node, path)
        self._homes[service] = {**given, "": place}
        if engine is None:
            return
        several = given.get("instances")
        picks_port = holds_port(engine[1]) and "base_url" not in given  # another program of that name
        if several is None and not picks_port:
            keys = self._with_defaults(service, keys)
        name, options = self._default_engine(service, keys) if engine_node is None else engine
        if self._semaphore.asked_for(path, keys, given):
            name, options = SEMAPHORE, self._semaphore.from_keys(path, keys, given, place)
        elif name == SEMAPHORE and options is not None:
            options = self._semaphore.completed(path, options, keys.machine, given, place)
        if name == SEMAPHORE:
            self._semaphore.check_address(path, keys, given)
            if options is None:
                return
        self.warnings += self._semaphore.idle_words(path, keys, given)
        base_url = keys.base_url
        options_use_port = holds_port(options)
        if not base_url and name != "none" and options_use_port and several is None:
            base_url = ANY_PORT_URL
        if not base_url and several is None:
            if len(self._checker.problems) == before and "base_url" not in given:
                self._skip(service, given, name, place)
            return
        instances: list[InstanceSettings] = []
        if several is not None:
            made = make_instances(
                self._checker,
                several,
                f"{path}.instances",
                keys,
                engine_of=self._engine,
                complete=self._with_server,
                inherited=(name, options),
                taken=[MAIN] if base_url else [],
            )
            instances = [one for one, _, _ in made]
            self._spots.update({(service, one.id): (at, spot) for one, at, spot in made})
        if base_url:
            self._check_port(service, name, base_url, keys.health_url, options_use_port)
            instances.append(main_instance(keys, name, options, base_url, is_last=bool(instances)))
        if not instances:
            return
        if len(instances) > 1 and "appear_timeout" not in given:
            keys = keys.model_copy(update={"appear_timeout": ELSEWHERE_TIMEOUT})
        keys = self._semaphore.with_limits(keys, instances, given)
        self.warnings += self._semaphore.short_words(path, keys, instances, given)
        starts = next((one.engine for one in instances if one.managed), "none")
        self.warnings += check_limits(self._checker, path, keys, given, self._homes[service][""], starts)
        self._note_sources(path, given)
        strategy, warning = read_strategy(self._checker, given, path, self._around.strategies, instances)
        if warning:
            self.warnings.append(f"{path}.strategy: {warning}")
        self.services[ServiceId(service)] = settings_of(
            service, keys, backoff, tuple(instances), self._around.gateway.on_exit, strategy
        )

    def _with_server(self, one: Written, keys: ServiceKeys) -> Written | None:
        """Its own engine with what the top of the file says about it; None when it cannot work."""
        name, options = one.engine
        if name != SEMAPHORE or "engine" not in one.given or options is None:
            return one
        machine = machine_of(one, keys.machine)
        whole = self._semaphore.completed(one.path, options, machine, one.given, one.node)
        return None if whole is None else replace(one, engine=(name, whole))

    @property
    def shared(self) -> dict[str, object]:
        """Engine → what the top of the file says for it."""
        said = self._semaphore.shared()
        return {} if said is None else {SEMAPHORE: said}

    def finish(self) -> None:
        """What only shows when all services are known: names and addresses that clash."""
        self._check_hosts()
        self._check_ports()
        self._check_addresses()
        self.warnings += self._semaphore.warnings()
        self.services = with_dependencies(self._checker, self.services, self._homes)
        if (machines := self._around.machines) is not None:
            self.services = with_room(self._checker, self.services, machines, self._homes)
            self.warnings += room_warnings(self.services, machines)

    # -- engine --------------------------------------------------------------------------------

    def _engine(self, node: Node | None, path: str) -> tuple[str, BaseModel | None] | None:
        """Name and options of the engine; None when they are wrong."""
        engines, add = self._around.engines, self._checker.add
        if node is None:
            return "none", None
        parts, full = node.mapping, f"{path}.engine"
        if parts is None:
            add(
                node,
                full,
                f"expected a mapping such as {{type: process, command: […]}}, found {show(node.value)}",
            )
            return None
        kind = parts.get("type")
        if kind is None:
            add(
                node,
                f"{full}.type",
                "is missing",
                at_key=True,
                remedy=f"add `type`: {one_of(sorted(engines))}",
            )
            return None
        name = kind.value
        if not isinstance(name, str) or name not in engines:
            self._unknown_engine(kind, f"{full}.type")
            return None
        rest = Node(
            {key: child for key, child in parts.items() if key != "type"}, node.place, node.key, node.name
        )
        options = self._checker.options(engines[name], rest, full)
        return None if options is None else (name, options)

    def _unknown_engine(self, node: Node, full: str) -> None:
        engines, name = sorted(self._around.engines), node.value
        if isinstance(name, str) and name in later.ENGINES:
            text = f"the engine {name!r} is not available yet in this version ({later.ENGINES[name]})"
            self._checker.add(node, full, text, remedy="start it yourself for now: `type: none`")
            return
        near = nearest(name, engines) if isinstance(name, str) else ""
        text = f"there is no engine {show(name)}; expected {one_of(engines)}"
        broken = [f"{one.file}: {one.detail}" for one in self._around.strategies.failed]
        remedy = f"if a file of yours brings it, mend that: {'; '.join(broken)}" if broken else ""
        self._checker.add(node, full, text, expected=one_of(engines), nearest=near, remedy=remedy)

    def _default_engine(self, service: str, keys: ServiceKeys) -> tuple[str, BaseModel | None]:
        """Engine none; `ollama` on this machine is started with the program if there is one (SPEC 2.4)."""
        engines = self._around.engines
        none = engines["none"].model_validate({}) if "none" in engines else None
        if service != OLLAMA or "process" not in engines or uses_port_mark(keys.base_url):
            return "none", none
        endpoint = parse_base_url(keys.base_url)
        plain = endpoint.scheme == "http" and not endpoint.unix_path and not endpoint.base_path
        if not plain or not is_this_machine(endpoint.host) or self._around.which(OLLAMA) is None:
            return "none", none
        host = "127.0.0.1" if endpoint.host in _LOOPBACK_NAMES else endpoint.host
        listen = Endpoint("http", host, endpoint.port)
        # what its user set for the program (OLLAMA_MODELS, …) goes on to it; our own keys are none of that
        own = {name for name, value in self._around.environ.items() if name.startswith("OLLAMA_") and value}
        env = {name: self._around.environ[name] for name in sorted(own) if not _is_key(name)}
        env["OLLAMA_HOST"] = f"{listen.authority}" if endpoint.port != 80 else f"{listen.authority}:80"
        return "process", engines["process"].model_validate({"command": ["ollama", "serve"], "env": env})

    # -- one service ---------------------------------------------------------------------------

    def _with_defaults(self, service: str, keys: ServiceKeys) -> ServiceKeys:
        if service != OLLAMA:
            return keys
        base_url = keys.base_url or OLLAMA_URL
        health = keys.health_url
        if not health and not keys.warmup and not base_url.lower().startswith("unix:"):
            health = base_url.rstrip("/") + "/api/tags"
        return keys.model_copy(update={"base_url": base_url, "health_url": health})

    def _backoff(self, given: Mapping[str, Node], path: str) -> Backoff:
        node, full = given.get("restart_backoff"), f"{path}.restart_backoff"
        if node is None:
            return Backoff()
        if node.mapping is None:
            self._checker.add(node, full, f"expected a mapping such as {{cap: 2m}}, found {show(node.value)}")
            return Backoff()
        found = self._checker.keys(node, BackoffKeys, full, coming={}, elsewhere={})
        keys = self._checker.values(BackoffKeys, found, full)
        if keys.base > keys.cap:
            text = f"base ({duration_text(keys.base)}) is longer than cap ({duration_text(keys.cap)})"
            self._checker.add(
                found.get("base", found.get("cap", node)), full, text, remedy="raise cap, or lower base"
            )
        self._note_sources(full, found)
        return Backoff(**keys.model_dump())

    def _skip(self, service: str, given: Mapping[str, Node], engine: str, place: Node) -> None:
        if engine != "none":
            text = f"has no base_url, and its engine {engine!r} is told no {PORT_MARK}"
            self._checker.add(
                place,
                f"services.{service}",
                text,
                at_key=True,
                remedy=f"add base_url, or put {PORT_MARK} into the command or its environment",
            )
            return
        variables = sorted({node.place.variable for node in given.values() if node.place.variable})
        where = f" ({', '.join(variables)})" if variables else f" ({place.place.words()})"
        self.warnings.append(
            f"service {service!r} has no base_url and is skipped{where}; "
            f"write services.{service}.base_url or set {_variable(service, 'base_url')}"
        )

    def _check_port(self, service: str, engine: str, base_url: str, health: str, told: bool) -> None:
        """`{port}` needs an engine that fills it in, and a program that is told it."""
        path, nodes = f"services.{service}", self._homes[service]
        if engine == SEMAPHORE:
            return  # said already
        for key, text in (("base_url", base_url), ("health_url", health)):
            node = nodes.get(key)
            if node is not None and uses_port_mark(text):
                check_mark(self._checker, node, f"{path}.{key}", engine, told=told)
        if told and not uses_port_mark(base_url, health) and (node := nodes.get("base_url")) is not None:
            self.warnings.append(
                f"{path}.base_url: {node.quoted(repr(base_url))} is a fixed address, and the program is told "
                f"a free port; write {PORT_MARK} here too, or leave base_url out"
            )

    def _note_sources(self, path: str, given: Mapping[str, Node]) -> None:
        for key, node in given.items():
            if key == "restart_backoff":
                continue
            if key in _NESTED or key in ("instances", "routing"):
                self._note_option(f"{path}.{key}", node)
                continue
            if key == "engine" and node.mapping is not None:
                for name, option in node.mapping.items():
                    self._note_option(f"{path}.engine.{name}", option)
                continue
            self.sources[f"{path}.{key}"] = node.words()

    def _note_option(self, path: str, node: Node) -> None:
        self.sources[path] = node.words()
        if isinstance(node.value, list):
            for at, item in enumerate(node.value):
                self._note_option(f"{path}[{at}]", item)
        elif not node.secret:
            for name, child in (node.mapping or {}).items():
                self._note_option(f"{path}.{name}", child)

    # -- all services --------------------------------------------------------------------------

    def _check_hosts(self) -> None:
        taken = {"hestia.localhost": "the gateway itself"}
        taken.update({f"{one}.localhost": f"services.{one}" for one in self.services})
        for name, settings in self.services.items():
            node = self._homes[name].get("hosts")
            for at, host in enumerate(settings.hosts):
                owner = taken.setdefault(host, f"services.{name}")
                if owner != f"services.{name}" and node is not None:
                    item = node.value[at] if isinstance(node.value, list) and at < len(node.value) else node
                    self._checker.add(
                        item,
                        f"services.{name}.hosts[{at}]",
                        f"{item.quoted(repr(host))} already leads to {owner}",
                        remedy="give each host name to one service",
                    )

    def _check_ports(self) -> None:
        """A port of its own is nobody else's."""
        own = self._around.own
        taken = {own.port: "the gateway itself"} if own.port else {}
        for name, settings in self.services.items():
            path = f"services.{name}"
            if settings.port is not None and (owner := taken.setdefault(settings.port, path)) != path:
                text = f"{settings.port} is already the port of {owner}"
                node = self._homes[name]["port"]
                self._checker.add(node, f"{path}.port", text, remedy="give each service a port of its own")
        self._around = replace(self._around, own=replace(own, doors=frozenset(taken)))

    def _check_addresses(self) -> None:
        """Two programs on one address (SF-11), and an address that is the gateway's own."""
        started: dict[Endpoint, str] = {}
        for name, settings in self.services.items():
            fallback = settings.fallback_url
            if uses_port_mark(fallback):
                self._checker.add(
                    self._homes[name]["fallback_url"],
                    f"services.{name}.fallback_url",
                    f"{PORT_MARK} has no meaning here: a fallback is never started",
                    remedy="write the port",
                )
            elif fallback and self._around.own.is_here(parse_base_url(fallback)):
                key = f"services.{name}.fallback_url"
                self._own_address(key, self._homes[name]["fallback_url"], fallback)
            for instance in settings.instances:
                if uses_port_mark(instance.base_url):
                    continue
                endpoint = parse_base_url(instance.base_url)
                home = self._homes[name].get("base_url", self._homes[name][""])
                key, node = self._spots.get((name, instance.id), (f"services.{name}.base_url", home))
                if self._around.own.is_here(endpoint):
                    self._own_address(key, node, instance.base_url)
                if not instance.managed:
                    continue
                where = _listens(endpoint)
                own = f"services.{name}" if instance.id == MAIN else key.removesuffix(".url")
                other = started.setdefault(where, own)
                if other != own:
                    self._checker.add(
                        node,
                        key,
                        f"{other} starts a program on {node.quoted(instance.base_url)} as well",
                        remedy=f"give one of them another port, or use {PORT_MARK}",
                    )

    def _own_address(self, key: str, node: Node, address: str) -> None:
        self._checker.add(
            node,
            key,
            f"{node.quoted(address)} is this gateway's own address",
            remedy="write the address of the service itself, or give the gateway another port",
        )


def is_this_machine(host: str) -> bool:
    """Whether the name or address means this machine, as far as its text tells."""
    if host in _LOOPBACK_NAMES or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _listens(endpoint: Endpoint) -> Endpoint:
    """The endpoint as two programs would clash on it."""
    host = "localhost" if is_this_machine(endpoint.host) else endpoint.host
    return Endpoint("http", host, endpoint.port, unix_path=endpoint.unix_path)


def _variable(service: str, key: str) -> str:
    return f"{service.upper().replace('-', '_')}_{key.upper()}"


def _is_key(name: str) -> bool:
    return name.removeprefix("OLLAMA_").lower() in spellings(ServiceKeys)
