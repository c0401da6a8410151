"""Checked keys of one service → `core.model.ServiceSettings`. Owns nothing but the translation."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from pydantic import BaseModel

from hestia.config.models import ServiceKeys
from hestia.config.several import MAIN, Written, health_of, machine_of
from hestia.core.model import (
    Backoff,
    External,
    HostHeader,
    IdleWebSocket,
    InstanceSettings,
    MachineId,
    OnCold,
    OnExit,
    PathPolicy,
    ServiceId,
    ServiceSettings,
)
from hestia.core.rules import Underscores
from hestia.core.strategy import StrategySettings
from hestia.core.urls import uses_port_mark

_WORDS: Final[dict[str, Any]] = {
    "external": External,
    "idle_websocket": IdleWebSocket,
    "on_cold": OnCold,
    "path_policy": PathPolicy,
    "underscore_headers": Underscores,
}
_HOST_HEADERS: Final = frozenset(HostHeader)
_ELSEWHERE: Final = {
    "base_url",
    "health_url",
    "warmup",
    "machine",
    "engine",
    "restart_backoff",
    "on_exit",
    "host_header",
    "instances",
    "strategy",
    "routing",
    *_WORDS,
    *(name for name in ServiceKeys.model_fields if name.startswith("semaphore_")),
}
_PLAIN: Final = [name for name in ServiceKeys.model_fields if name not in _ELSEWHERE]


ELSEWHERE_TIMEOUT: Final = 1.0  # appear_timeout where another instance may serve instead


def settings_of(
    service: str,
    keys: ServiceKeys,
    backoff: Backoff,
    instances: tuple[InstanceSettings, ...],
    on_exit: OnExit,
    strategy: StrategySettings | None,
) -> ServiceSettings:
    """The service as the core knows it. on_exit: where it says none."""
    plain: dict[str, Any] = {name: getattr(keys, name) for name in _PLAIN}  # Any: their types differ
    return ServiceSettings(
        id=ServiceId(service),
        instances=instances,
        host_header=HostHeader(keys.host_header) if keys.host_header in _HOST_HEADERS else keys.host_header,
        restart_backoff=backoff,
        on_exit=OnExit(keys.on_exit) if keys.on_exit else on_exit,
        strategy=strategy,
        **{name: word(getattr(keys, name)) for name, word in _WORDS.items()},
        **plain,
    )


def main_instance(
    keys: ServiceKeys, engine: str, options: BaseModel | None, base_url: str, *, is_last: bool
) -> InstanceSettings:
    """The instance at `base_url`, with its default filled in. is_last: there are `instances` beside it."""
    return InstanceSettings(
        id=MAIN,
        base_url=base_url,
        health_url=keys.health_url,
        warmup=keys.warmup,
        **_machine(options, keys.machine),
        engine=engine,
        options=options,
        options_hash=_hash(engine, options, base_url),
        is_last=is_last,
    )


def instance_of(written: Written, keys: ServiceKeys, base_url: str) -> InstanceSettings:
    """One of `instances`. keys: of its service. base_url: with its default filled in."""
    own, (engine, options) = written.keys, written.engine
    return InstanceSettings(
        id=written.id,
        base_url=base_url,
        health_url=health_of(written, base_url, keys.health_url),
        warmup=own.warmup if own.warmup is not None else keys.warmup,
        **_machine(options, machine_of(written, keys.machine)),
        engine=engine,
        options=options,
        options_hash=_hash(engine, options, base_url),
        weight=own.weight,
        region=own.region,
        models=own.models,
    )


def _machine(options: BaseModel | None, named: str) -> dict[str, Any]:  # Any: fields of two types
    """Where it runs: as its engine was told, else as `machine` says. Who named it to the engine alone expects
    that its services take turns there (SPEC 5)."""
    told = getattr(options, "machine_id", "")
    return {"machine": MachineId(told or named), "takes_turns": bool(told) and told != named}


def _hash(engine: str, options: BaseModel | None, base_url: str) -> str:
    """Changes when what is started, or where it answers, changes."""
    kept = set(getattr(options, "not_started_with", ()))  # what an engine's own model calls so
    dumped = options.model_dump(mode="json", exclude=kept) if options is not None else {}
    text = json.dumps([engine, dumped, base_url], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def holds_port(options: BaseModel | None) -> bool:
    """Whether an option holds `{port}`, in whatever engine."""
    return options is not None and uses_port_mark(
        json.dumps(options.model_dump(mode="json"), ensure_ascii=False)
    )
