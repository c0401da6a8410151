"""Checks of the services' addresses: does the name resolve, who answers, and what does `health_url` say.

Asks with the gateway's own probe (`runtime.probes`), so that both see the same; one connection or one GET for
each address, and never through the gateway: nothing is woken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from hestia.cli import address
from hestia.cli.address import Holder
from hestia.cli.doctor.finding import Finding, Level, fail, ok, skip, warn
from hestia.cli.doctor.running import Running
from hestia.cli.doctor.world import World
from hestia.cli.text import plain
from hestia.core.errors import TLS_REMEDY
from hestia.core.model import Endpoint, InstanceSettings, ServiceSettings
from hestia.core.urls import parse_base_url, uses_port_mark
from hestia.runtime.probes import Answer, Target, ask, target_for

ANSWER_TIMEOUT: Final = 3.0  # seconds; below the limit of a check, so that the reason is told
AROUND_TIMEOUT: Final = 0.8  # seconds that a guess at a better address may take
CONTAINER_MARKS: Final = ("/.dockerenv", "/run/.containerenv")
CONTAINER_HOSTS: Final = ("host.docker.internal", "host.containers.internal")  # the machine around it
_HOT: Final = ("hot", "suspect", "draining")

Resolved = list[tuple[Any, ...]]  # as socket.getaddrinfo gives it; Any: its shape depends on the family


@dataclass(frozen=True, slots=True)
class AddressLook:
    """What was found at the address of a service. url: what was asked; health: it was `health_url`.

    phase: what the running gateway says of the service, "" without one. holder: who listens there, if it is
    this machine and somebody does. instead: an address at which something answers in its place. assumed:
    nobody configured the service.
    """

    service: str
    url: str
    health: bool
    managed: bool
    answer: Answer
    phase: str = ""
    local: bool = False
    holder: Holder | None = None
    in_container: bool = False
    instead: str = ""
    assumed: bool = False

    @property
    def where(self) -> str:
        return f"services.{self.service}.{'health_url' if self.health else 'base_url'}"


def service_address(world: World, service: ServiceSettings, instance: InstanceSettings) -> Iterator[Finding]:
    """Look at where a service answers, or would."""
    name, where = str(service.id), f"services.{service.id}.base_url"
    if uses_port_mark(instance.base_url):
        yield skip("address", f"{name}: gets a free port with each start", where)
        return
    endpoint = parse_base_url(instance.base_url)
    target = target_for(endpoint, instance.health_url, tls_verify=service.tls_verify)
    for one in dict.fromkeys((endpoint, target.endpoint)):
        found = resolve(one)
        if isinstance(found, socket.gaierror):
            yield unknown_name(name, one, found, where)
            return
        if leads_home(one, found, world.gateway.port, own_addresses()):
            yield fail(
                "address",
                f"{name}: {one} is the gateway's own address: its requests would run in a circle",
                where,
                "write the address of the service itself",
            )
            return
    answer = look(target)
    # the gateway is asked meanwhile by its own check: the other way round, both limits would add up
    yield judge(_with_surroundings(world, service, instance, target, answer, world.asked.running()))


def _with_surroundings(
    world: World,
    service: ServiceSettings,
    instance: InstanceSettings,
    target: Target,
    answer: Answer,
    running: Running | None,
) -> AddressLook:
    """The answer with what stands around it."""
    status = running.service(str(service.id)) if running is not None else {}
    in_container = any(os.path.exists(mark) for mark in CONTAINER_MARKS)
    endpoint, phase = target.endpoint, str(status.get("phase", ""))
    # asked for where it tells something only: it costs a look at every process
    strange = instance.managed and phase not in _HOT and target.local and not answer.refused
    lost = in_container and answer.refused and target.local and not instance.managed
    return AddressLook(
        service=str(service.id),
        url=target.url,
        health=bool(target.path),
        managed=instance.managed,
        answer=answer,
        phase=phase,
        local=target.local,
        holder=address.holder_of(endpoint.port) if strange and endpoint.port else None,
        in_container=in_container,
        instead=_AROUND.answering(endpoint) if lost and endpoint.port else "",
        assumed=is_assumed(world, str(service.id)),
    )


def is_assumed(world: World, service: str) -> bool:
    """Whether it is there because nothing is configured."""
    settings = world.settings
    if settings is None or settings.config_path:
        return False
    return not any(key.startswith(f"services.{service}.") for key in settings.sources)


def fallback(service: ServiceSettings) -> Iterator[Finding]:
    """Look at where requests go when the service cannot serve."""
    name, where = str(service.id), f"services.{service.id}.fallback_url"
    endpoint = parse_base_url(service.fallback_url)
    found = resolve(endpoint)
    if isinstance(found, socket.gaierror):
        yield unknown_name(name, endpoint, found, where)
        return
    answer = look(Target(endpoint, "", service.tls_verify))
    text = f"{name}: fallback {endpoint}: {plain(answer.text)}"
    yield (
        ok("address", text, where)
        if answer.ready
        else warn("address", text, where, "start it, or correct the address")
    )


# -- looking -----------------------------------------------------------------------------------


def resolve(endpoint: Endpoint) -> Resolved | socket.gaierror:
    """The addresses behind a name, or why there are none. A unix socket has none and needs none."""
    if endpoint.unix_path:
        return []
    try:
        return list(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM))
    except socket.gaierror as exc:
        return exc


def own_addresses() -> frozenset[str]:
    """The addresses of this machine's networks."""
    import psutil  # late: it takes a while, and most commands do without

    return frozenset(one.address.partition("%")[0] for many in psutil.net_if_addrs().values() for one in many)


def leads_home(endpoint: Endpoint, found: Resolved | socket.gaierror, port: int, own: frozenset[str]) -> bool:
    """Whether requests sent there would come back to the gateway on that port."""
    if endpoint.unix_path or endpoint.port != port or isinstance(found, socket.gaierror):
        return False
    hosts = {str(one[4][0]).partition("%")[0] for one in found}
    return any(host in own or host.startswith("127.") or host == "::1" for host in hosts)


class _Alone(asyncio.SelectorEventLoop):
    """A loop for one probe. It resolves names itself, which may block it: a name server that is silent would
    otherwise hold a thread of the pool, and that the end of the program."""

    async def getaddrinfo(self, host: Any, port: Any, **more: Any) -> Any:  # Any: asyncio's own signature
        return socket.getaddrinfo(host, port, **more)


def look(target: Target) -> Answer:
    """One probe, as the gateway makes it."""
    with asyncio.Runner(loop_factory=_Alone) as runner:
        return runner.run(ask(target, timeout=ANSWER_TIMEOUT))


class _Around:
    """The machine around this container, if it has a name here: looked up once, and not for long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[str, ...] | None = None

    def names(self) -> tuple[str, ...]:
        """Those of the usual names that can be resolved."""
        with self._lock:
            if self._known is None:
                found: list[str] = []
                look = threading.Thread(target=self._look, args=(found,), daemon=True)
                look.start()
                look.join(AROUND_TIMEOUT)
                self._known = tuple(found)
            return self._known

    def _look(self, found: list[str]) -> None:
        for host in CONTAINER_HOSTS:
            with contextlib.suppress(OSError):
                socket.getaddrinfo(host, None)
                found.append(host)

    def answering(self, endpoint: Endpoint) -> str:
        """Where the same port answers on that machine, "" nowhere."""
        for host in self.names():
            with contextlib.suppress(OSError):
                socket.create_connection((host, endpoint.port), timeout=AROUND_TIMEOUT / 2).close()
                return f"{endpoint.scheme}://{host}:{endpoint.port}"
        return ""


_AROUND: Final = _Around()


# -- judging -----------------------------------------------------------------------------------


def unknown_name(service: str, endpoint: Endpoint, error: socket.gaierror, where: str) -> Finding:
    """The host name of an address means nothing on this machine."""
    reason = error.strerror or str(error)
    return fail(
        "address",
        f'{service}: the name "{plain(endpoint.host)}" of {endpoint} cannot be resolved here: {reason}',
        where,
        f"correct it, or make the name known: getent hosts {endpoint.host}",
    )


def judge(seen: AddressLook) -> Finding:
    """What the answer means for this service."""
    answer = seen.answer
    if answer.ready:
        return _answers(seen)
    if answer.refused:
        return _nobody(seen)
    if answer.status:
        return _wrong_status(seen)
    if answer.untrusted:
        return _failed(seen, TLS_REMEDY)
    if "WRONG_VERSION_NUMBER" in answer.text or "RECORD_LAYER" in answer.text:
        return _failed(seen, "it does not speak HTTPS: write http:// in the address")
    if "which is not HTTP" in answer.text:
        return _failed(seen, "see what it is; if it speaks HTTPS, write https:// in the address")
    return _failed(seen, f"try it by hand: curl -v {seen.url}")


def _answers(seen: AddressLook) -> Finding:
    text = f"{seen.service}: {seen.url} {_said(seen.answer)}"
    if seen.managed and seen.phase not in _HOT and seen.phase != "starting" and seen.holder is not None:
        return warn(
            "address",
            f"{text}, but Hestia did not start it ({seen.holder.words()}): it is used as it is, not stopped",
            seen.where,
            "end it if Hestia shall start and stop the service, or write engine: {type: none}",
        )
    return ok("address", text, seen.where)


def _nobody(seen: AddressLook) -> Finding:
    text = f"{seen.service}: {seen.url}: {plain(seen.answer.text)}"
    if seen.managed and seen.phase in _HOT:
        return fail(
            "address",
            f"{text}, although the gateway takes it for {seen.phase}",
            seen.where,
            f"hestia restart {seen.service}",
            f"hestia logs {seen.service}",
        )
    if seen.managed:
        return ok("address", f"{seen.service}: {seen.url}: nobody answers while it is asleep", seen.where)
    do = ["start it: with engine none, Hestia only waits for it"]
    if seen.instead:
        do = [f"write {seen.instead}, where something answers"]
    elif seen.in_container and seen.local:
        do.append(
            "if it runs outside of this container, whose own loopback this is: write the name of the other "
            f"container, or {CONTAINER_HOSTS[0]} for the machine around it"
        )
    return (warn if seen.assumed else fail)("address", text, seen.where, *do)


def _wrong_status(seen: AddressLook) -> Finding:
    status = seen.answer.status
    text = f"{seen.service}: {seen.url} answers {plain(seen.answer.text)}"
    if status in (401, 403):
        return fail("address", text, seen.where, "name a path for health_url that needs no log-in")
    if 300 <= status < 400:
        return fail(
            "address",
            f"{text}; redirects are not followed",
            seen.where,
            f"write into health_url where it leads: curl -sI {seen.url}",
        )
    if 400 <= status < 500:
        return fail(
            "address", text, seen.where, "correct health_url: it must answer 2xx once the service can serve"
        )
    return warn(
        "address", f"{text}: it is not ready", seen.where, f"wait for it, or look: hestia logs {seen.service}"
    )


def _failed(seen: AddressLook, do: str) -> Finding:
    return Finding(
        Level.FAIL, "address", f"{seen.service}: {seen.url}: {plain(seen.answer.text)}", seen.where, (do,)
    )


def _said(answer: Answer) -> str:
    return f"answers {plain(answer.text)}" if answer.status else plain(answer.text)
