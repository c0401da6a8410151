"""The list of all checks for one world, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from hestia.cli.doctor import (
    addresses,
    configuration,
    engines,
    folder,
    gateway,
    machine,
    ports,
    semaphore,
    store,
)
from hestia.cli.doctor.finding import Check, Finding
from hestia.cli.doctor.world import World


def checks(world: World) -> list[Check]:
    """Everything there is to look at. Without a usable configuration, that is the gateway and the machine."""
    return [*_of_gateway(world), *_of_machine(world), *_of_services(world)]


def _of_gateway(world: World) -> Iterator[Check]:
    gateway_settings, target = world.gateway, world.target
    yield Check("config", "", partial(configuration.configuration, world), "hestia config check")
    if world.settings is not None:
        yield Check("access", "", _one(configuration.access, gateway_settings), "ip route get 192.0.2.1")
        tls = gateway_settings.tls
        files = f"ls -l {tls.certificate} {tls.key}" if tls is not None else ""
        yield Check("tls", "", partial(configuration.certificate, tls), files)
    yield Check("gateway", "", partial(gateway.gateway, world), f"curl -v {target.url}/healthz")
    yield Check("port", "", _one(ports.main_port, world), "ss -ltnp")
    for service in world.services:
        if service.port is not None:
            look = _one(ports.own_port, world, str(service.id), service.port)
            yield Check("port", str(service.id), look, "ss -ltnp")


def _of_services(world: World) -> Iterator[Check]:
    yield Check("engine", "", partial(engines.installed, world), "hestia config schema")
    for service in world.services:
        for instance in service.instances:
            if instance.engine == "process":
                look = partial(engines.program, world, str(service.id), instance)
                yield Check(
                    "engine", str(service.id), look, "look at the folders of its command, cwd and PATH"
                )
    for wish in semaphore.wanted(world):
        yield Check(
            "semaphore", wish.server.base_url, partial(semaphore.server, wish), "hestia semaphore check"
        )
    for service in world.services:
        name = str(service.id)
        for instance in service.instances:
            look_at = partial(addresses.service_address, world, service, instance)
            yield Check("address", name, look_at, "see whether its name resolves: getent hosts NAME")
        if service.fallback_url:
            yield Check(
                "address", name, partial(addresses.fallback, service), "see whether its name resolves"
            )


def _of_machine(world: World) -> Iterator[Check]:
    state_dir = world.gateway.state_dir
    yield Check("folder", "", _one(folder.state_folder, world), f"ls -la {state_dir}")
    yield Check("store", "", _one(store.database, world), "hestia db check")
    yield Check("disk", "", partial(folder.disk, world), f"df {state_dir}")
    yield Check("clock", "", _one(machine.clock, world), "timedatectl")
    yield Check("files", "", _one(machine.open_files, world), "ulimit -Hn")
    yield Check("memory", "", _one(machine.memory), "free -m")


def _one(look: Callable[..., Finding], *arguments: object) -> Callable[[], Iterable[Finding]]:
    """A check with exactly one finding."""
    return lambda: (look(*arguments),)
