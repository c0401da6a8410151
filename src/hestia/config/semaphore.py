"""`semaphore_*` keys → the options of the engine `semaphore`, and what cannot work with it.

Two forms lead there: the keys of a service, and `engine: {type: semaphore, …}`. In both, what a service does
not say about the server is taken from the top of the file. Nothing said about it is `http://localhost:3000`,
where Semaphore is in the shipped set-up; missing credentials are a warning, since a start says it as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from hestia.config.check import Checker
from hestia.config.models import ServiceKeys
from hestia.config.tree import Node
from hestia.config.values import duration_text
from hestia.core.model import LOCAL, GatewaySettings, InstanceSettings
from hestia.core.urls import PORT_MARK, uses_port_mark

ENGINE: Final = "semaphore"
READY: Final = 300.0  # seconds that a service gets to become ready after its task, where nobody says it
_KEYS: Final = tuple(name for name in ServiceKeys.model_fields if name.startswith("semaphore_"))
_OPTIONS: Final = {
    "semaphore_machine_id": "machine_id",
    "semaphore_start_template_id": "start_template",
    "semaphore_stop_template_id": "stop_template",
    "semaphore_task_timeout": "task_timeout",
    "semaphore_poll_interval": "poll_interval",
}
SERVER: Final = ("base_url", "project", "timeout", "api_key", "username", "password")


class Semaphore:
    """Builds the options of one configuration. model: the engine's own; None where it is not installed."""

    def __init__(self, checker: Checker, gateway: GatewaySettings, model: type[BaseModel] | None) -> None:
        self._checker = checker
        self._gateway = gateway
        self._model = model
        self._without_credentials: list[str] = []
        self._used = False

    def asked_for(self, path: str, keys: ServiceKeys, given: Mapping[str, Node]) -> bool:
        """Whether the keys of the service say so; keys that then do nothing are reported."""
        if not keys.semaphore_enabled:
            return False
        if "engine" in given:
            self._checker.add(
                given["engine"],
                f"{path}.engine",
                "says who starts the service, and so does semaphore_enabled",
                at_key=True,
                remedy="keep one of the two",
            )
        return True

    def idle_words(self, path: str, keys: ServiceKeys, given: Mapping[str, Node]) -> list[str]:
        """Warnings about keys that do nothing."""
        idle = [name for name in _KEYS if name in given and name != "semaphore_enabled"]
        if keys.semaphore_enabled or not idle:
            return []
        return [f"{path}: {', '.join(idle)} without effect; add semaphore_enabled: true"]

    def from_keys(
        self, path: str, keys: ServiceKeys, given: Mapping[str, Node], place: Node
    ) -> BaseModel | None:
        """The options that the service's keys mean; None when they are wrong."""
        if self._model is None:
            self._checker.add(given["semaphore_enabled"], path, "the engine 'semaphore' is not installed")
            return None
        if not keys.semaphore_machine_id:
            self._checker.add(
                given.get("semaphore_enabled", place),
                f"{path}.semaphore_enabled",
                "needs semaphore_machine_id, the name of the machine, which the playbook is told",
                at_key=True,
                remedy="add semaphore_machine_id, such as gpu-server-01",
            )
            return None
        if keys.semaphore_start_template_id == keys.semaphore_stop_template_id:
            name = "semaphore_stop_template_id"
            self._checker.add(
                given.get(name) or given["semaphore_start_template_id"],
                f"{path}.{name}",
                f"is {keys.semaphore_stop_template_id!r}, which starts the service as well",
                remedy="name two templates: Semaphore runs one task of a template at a time",
            )
            return None
        plain = {option: getattr(keys, name) for name, option in _OPTIONS.items()}
        return self.completed(path, self._model.model_validate(plain), keys.machine, given, place)

    def completed(
        self, path: str, options: BaseModel, machine: str, given: Mapping[str, Node], place: Node
    ) -> BaseModel | None:
        """The options with what the top of the file says; None when they cannot work. machine: in default."""
        plain: dict[str, Any] = dict(options)  # Any: the fields are the engine's own
        if not plain["machine_id"] and machine == LOCAL:
            self._checker.add(
                given.get("engine", place),
                f"{path}.engine",
                "needs machine_id, the name of the machine, which the playbook is told",
                at_key=True,
                remedy="add machine_id, such as gpu-server-01",
            )
            return None
        if plain["start_template"] == plain["stop_template"]:
            self._checker.add(
                given.get("engine", place),
                f"{path}.engine.stop_template",
                f"is {plain['stop_template']!r}, which starts the service as well",
                remedy="name two templates: Semaphore runs one task of a template at a time",
            )
            return None
        whole = {"machine_id": plain["machine_id"] or machine, **self._server(plain)}
        self._used = True
        if not whole["api_key"] and not (whole["username"] and whole["password"]):
            self._without_credentials.append(path.removeprefix("services."))
        return options.model_copy(update=whole)

    def _server(self, own: Mapping[str, Any]) -> dict[str, Any]:  # Any: as above
        """What is to be asked, and as whom: of credentials either the service's own or the file's."""
        gateway = {name: getattr(self._gateway, f"semaphore_{name}") for name in SERVER}
        mine = {name: own[name] for name in SERVER}
        if mine["api_key"] or mine["username"]:
            gateway |= dict.fromkeys(("api_key", "username", "password"), "")
        return {name: gateway[name] if mine[name] in ("", None) else mine[name] for name in SERVER}

    def check_address(self, path: str, keys: ServiceKeys, given: Mapping[str, Node]) -> None:
        """The address has to be one that the playbook can be told."""
        for name, text in (("base_url", keys.base_url), ("health_url", keys.health_url)):
            if name in given and uses_port_mark(text):
                self._checker.add(
                    given[name],
                    f"{path}.{name}",
                    f"{PORT_MARK} needs an engine that picks a port; the playbook is told this address",
                    remedy="write the port that the playbook uses",
                )

    def with_limits(
        self, keys: ServiceKeys, instances: Sequence[InstanceSettings], given: Mapping[str, Node]
    ) -> ServiceKeys:
        """A start may take as long as its task, unless somebody says otherwise (CK-05)."""
        limits = [_task_limit(one.options) for one in instances if one.engine == ENGINE]
        if "start_timeout" in given or not limits:
            return keys
        return keys.model_copy(update={"start_timeout": max(limits) + READY})

    def short_words(
        self,
        path: str,
        keys: ServiceKeys,
        instances: Sequence[InstanceSettings],
        given: Mapping[str, Node],
    ) -> list[str]:
        """Warnings about a start that ends before its task may."""
        running: list[float] = [
            getattr(one.options, "task_timeout", 0.0) for one in instances if one.engine == ENGINE
        ]
        needed = max(running, default=0.0)
        if "start_timeout" not in given or keys.start_timeout > needed:
            return []
        return [
            f"{path}.start_timeout ({duration_text(keys.start_timeout)}) ends a start before its task has to "
            f"end ({duration_text(needed)}); raise it, or lower semaphore_task_timeout"
        ]

    def shared(self) -> BaseModel | None:
        """What the top of the file alone says: enough to find what services of before have left."""
        gateway = self._gateway
        if self._model is None or not (gateway.semaphore_api_key or gateway.semaphore_password):
            return None
        return self._model.model_validate({name: getattr(gateway, f"semaphore_{name}") for name in SERVER})

    def warnings(self) -> list[str]:
        """About the configuration as a whole."""
        words = []
        if self._without_credentials:
            words.append(
                f"{', '.join(self._without_credentials)}: started through Semaphore, which knows nobody yet: "
                "set semaphore_api_key (SEMAPHORE_API_KEY), or semaphore_username and semaphore_password"
            )
        if self._used and self._gateway.semaphore_api_key and self._gateway.semaphore_username:
            words.append("semaphore_username has no effect beside semaphore_api_key")
        return words


def written_as(name: str, instance: InstanceSettings) -> object:
    """The value of a `semaphore_*` key of a service, as its instance has it."""
    if instance.engine != ENGINE:
        return ServiceKeys.model_fields[name].default
    return True if name == "semaphore_enabled" else getattr(instance.options, _OPTIONS[name])


def _task_limit(options: object) -> float:
    running: float = getattr(options, "task_timeout", 0.0)
    waiting: float | None = getattr(options, "queue_timeout", None)
    return running + (running if waiting is None else waiting)
