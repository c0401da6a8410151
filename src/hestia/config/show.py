"""What the configuration amounts to, for `config show` and `GET /v1/config`: value and source of every key.

Owns the text form of values and the hiding of secrets. Limits are the effective ones (CK-04): a time that
follows another key says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from hestia.config.busy import written
from hestia.config.errors import blot, is_secret_name
from hestia.config.machines import Resources, amounts
from hestia.config.models import BackoffKeys, GatewayKeys, ServiceKeys, kind_of
from hestia.config.rules import Nested, plain
from hestia.config.semaphore import ENGINE as SEMAPHORE
from hestia.config.semaphore import SERVER, written_as
from hestia.config.several import MAIN
from hestia.config.sizes import Size, size_text
from hestia.config.values import Duration, duration_text
from hestia.core.model import BusyProbe, InstanceSettings, ServiceSettings, Settings

HIDDEN = "***"
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Row:
    """One effective setting. key: dotted. value: JSON-able, `***` for a secret. source: in words."""

    key: str
    value: object
    source: str
    changed: bool = False


def effective(settings: Settings) -> list[Row]:
    """Every key of the gateway and of each service; those that somebody set come first."""
    rows = [*_gateway_rows(settings)]
    for service in settings.services.values():
        rows += _service_rows(settings, service)
    return sorted(rows, key=lambda row: not row.changed)


def _gateway_rows(settings: Settings) -> Iterator[Row]:
    for name in GatewayKeys.model_fields:
        yield _row(settings, name, getattr(settings.gateway, name), GatewayKeys, name)


def _service_rows(settings: Settings, service: ServiceSettings) -> Iterator[Row]:
    path, instance = f"services.{service.id}", service.instances[-1]
    main = next((one for one in service.instances if one.id == MAIN), None)
    for name in ServiceKeys.model_fields:
        key = f"{path}.{name}"
        if name in ("instances", "routing", "strategy"):
            yield from _routing_rows(settings, service, name, key)
        elif name == "base_url" and main is None:
            yield Row(key, "", _DEFAULT)
        elif name == "engine":
            yield from _engine_rows(settings, instance, key)
        elif name == "restart_backoff":
            for part in BackoffKeys.model_fields:
                yield _row(
                    settings, f"{key}.{part}", getattr(service.restart_backoff, part), BackoffKeys, part
                )
        elif name == "min_hot" and service.min_hot is None:
            yield Row(key, "30s", f"{_DEFAULT} (or as long as the last start took)")
        elif name == "request_timeout" and service.request_timeout is None:
            yield Row(key, duration_text(service.start_timeout), f"{_DEFAULT} (as start_timeout)")
        elif name.startswith("semaphore_"):
            yield _row(settings, key, written_as(name, instance), ServiceKeys, name)
        else:
            holder = instance if name in ("base_url", "health_url", "warmup", "machine") else service
            yield _row(settings, key, getattr(holder, name), ServiceKeys, name)


def _routing_rows(settings: Settings, service: ServiceSettings, name: str, key: str) -> Iterator[Row]:
    """Strategy, its options and the instances, as they are used."""
    strategy = service.strategy
    source = settings.sources.get(key, _DEFAULT)
    if name == "strategy":
        yield Row(key, strategy.name if strategy is not None else "", source, source != _DEFAULT)
    elif name == "routing":
        options = strategy.options if strategy is not None else None
        shown = options.model_dump(mode="json") if isinstance(options, BaseModel) else {}
        yield Row(key, _hidden(settings, key, shown), source, source != _DEFAULT)
    else:
        several = [one for one in service.instances if one.id != MAIN]
        yield Row(key, [_instance(settings, one) for one in several], source, source != _DEFAULT)


def _instance(settings: Settings, one: InstanceSettings) -> dict[str, object]:
    options = one.options.model_dump(mode="json") if isinstance(one.options, BaseModel) else {}
    return {
        "name": str(one.id),
        "url": blot(one.base_url),
        "health_url": blot(one.health_url),
        "weight": one.weight,
        "region": one.region,
        "models": list(one.models),
        "machine": str(one.machine),
        "warmup": duration_text(one.warmup),
        "engine": {
            "type": one.engine,
            **{name: _hidden(settings, name, value) for name, value in options.items()},
        },
    }


def _engine_rows(settings: Settings, instance: InstanceSettings, key: str) -> Iterator[Row]:
    source = settings.sources.get(f"{key}.type", _DEFAULT)
    yield Row(f"{key}.type", instance.engine, source, source != _DEFAULT)
    if not isinstance(instance.options, BaseModel):
        return
    for name, value in instance.options.model_dump(mode="json").items():
        source = settings.sources.get(f"{key}.{name}", _DEFAULT)
        if source == _DEFAULT and instance.engine == SEMAPHORE and name in SERVER:
            source = f"{_DEFAULT} (as semaphore_{name})"
        yield Row(
            f"{key}.{name}",
            _hidden(settings, f"{key}.{name}", value),
            source,
            not source.startswith(_DEFAULT),
        )


def _hidden(settings: Settings, key: str, value: object) -> object:
    """The value with stars in place of what came from a secret, or is named like one."""
    of_secret = "(secret: " in settings.sources.get(key, "")
    if (of_secret and not isinstance(value, list)) or (is_secret_name(key.rpartition(".")[2]) and value):
        return HIDDEN
    if isinstance(value, dict):
        return {name: _hidden(settings, f"{key}.{name}", one) for name, one in value.items()}
    if isinstance(value, list):
        shown = [_hidden(settings, f"{key}[{at}]", one) for at, one in enumerate(value)]
        for at, one in enumerate(value[:-1]):  # --api-key and its value are two items of a command
            if isinstance(one, str) and one.startswith("-") and "=" not in one and is_secret_name(one):
                shown[at + 1] = HIDDEN
        return shown
    return blot(value) if isinstance(value, str) else value


def _row(settings: Settings, key: str, value: object, model: type[BaseModel], field: str) -> Row:
    source = settings.sources.get(key, _DEFAULT)
    shown: object = value
    kind = kind_of(model.model_fields[field])
    if "(secret: " in source or (is_secret_name(field) and value):
        shown = HIDDEN
    elif isinstance(kind, Duration) and isinstance(value, int | float):
        shown = duration_text(value)
    elif isinstance(kind, Size) and isinstance(value, int):
        shown = size_text(value)
    elif isinstance(kind, Nested):
        shown = _hidden(settings, key, plain(value))
    elif isinstance(value, BusyProbe):
        shown = _hidden(settings, key, written(value))
    elif isinstance(kind, Resources) and isinstance(value, Mapping):
        shown = amounts(value)
    elif isinstance(value, tuple):
        shown = list(value)
    elif isinstance(value, str):
        shown = str(value)
    return Row(key, shown, source, source != _DEFAULT)
