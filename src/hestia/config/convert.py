"""Checked keys of one service → `core.model.ServiceSettings`. Owns nothing but the translation."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from pydantic import BaseModel

from hestia.config.models import ServiceKeys
from hestia.core.model import (
    Backoff,
    External,
    HostHeader,
    IdleWebSocket,
    InstanceId,
    InstanceSettings,
    MachineId,
    OnCold,
    OnExit,
    PathPolicy,
    ServiceId,
    ServiceSettings,
)
from hestia.core.rules import Underscores
from hestia.core.urls import uses_port_mark

MAIN: Final = InstanceId("main")
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
    *_WORDS,
}
_PLAIN: Final = [name for name in ServiceKeys.model_fields if name not in _ELSEWHERE]


def settings_of(
    service: str,
    keys: ServiceKeys,
    backoff: Backoff,
    engine: str,
    options: BaseModel | None,
    base_url: str,
    on_exit: OnExit,
) -> ServiceSettings:
    """The service as the core knows it. base_url: with its default filled in. on_exit: where it says none."""
    instance = InstanceSettings(
        id=MAIN,
        base_url=base_url,
        health_url=keys.health_url,
        warmup=keys.warmup,
        machine=MachineId(keys.machine),
        engine=engine,
        options=options,
        options_hash=_hash(engine, options, base_url),
    )
    plain: dict[str, Any] = {name: getattr(keys, name) for name in _PLAIN}  # Any: their types differ
    return ServiceSettings(
        id=ServiceId(service),
        instances=(instance,),
        host_header=HostHeader(keys.host_header) if keys.host_header in _HOST_HEADERS else keys.host_header,
        restart_backoff=backoff,
        on_exit=OnExit(keys.on_exit) if keys.on_exit else on_exit,
        **{name: word(getattr(keys, name)) for name, word in _WORDS.items()},
        **plain,
    )


def _hash(engine: str, options: BaseModel | None, base_url: str) -> str:
    """Changes when what is started, or where it answers, changes."""
    dumped = options.model_dump(mode="json") if options is not None else {}
    text = json.dumps([engine, dumped, base_url], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def holds_port(options: BaseModel | None) -> bool:
    """Whether an option holds `{port}`, in whatever engine."""
    return options is not None and uses_port_mark(
        json.dumps(options.model_dump(mode="json"), ensure_ascii=False)
    )
