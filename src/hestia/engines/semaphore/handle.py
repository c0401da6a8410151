"""How a generation is found again: the handle, what is stamped on its tasks, what its playbooks are told.

A task bears its instance key in `message`, with what it is for and, at a start, with which options. Variables
are texts, so that scripts can read them as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from hestia.core.model import Endpoint, InstanceKey
from hestia.core.ports import Handle, StartSpec
from hestia.core.urls import parse_base_url
from hestia.engines.semaphore.options import SemaphoreOptions
from hestia.engines.semaphore.tasks import Task

START: Final = "start"
STOP: Final = "stop"
_PORTS: Final[dict[str, int]] = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What the message of one of our tasks says. options_hash, stop: of a start, and its stop template."""

    key: InstanceKey
    action: str
    options_hash: str = ""
    stop: int = 0

    def __str__(self) -> str:
        more = f" {self.stop} {self.options_hash}".rstrip() if self.action == START else ""
        return f"{self.key} {self.action}{more}"

    @classmethod
    def of(cls, task: Task) -> Mark | None:
        """The mark of a task; None when it is none of ours, of whichever gateway."""
        parts = task.message.split()
        try:
            key = InstanceKey.parse(parts[0]) if parts else None
        except ValueError:
            return None
        if key is None or len(parts) < 2 or parts[1] not in (START, STOP):
            return None
        stop = int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0
        return cls(key=key, action=parts[1], options_hash=parts[3] if len(parts) > 3 else "", stop=stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A generation as its handle describes it. task: 0 where the answer to its start was lost.

    server, project: where its tasks are. start, stop: its templates. variables: those of its start, which its
    stop gets as well.
    """

    key: InstanceKey
    server: str
    project: int
    start: int
    stop: int
    task: int
    variables: Mapping[str, str]

    def handle(self) -> Handle:
        return {
            "key": str(self.key),
            "server": self.server,
            "project": self.project,
            "start": self.start,
            "stop": self.stop,
            "task": self.task,
            "variables": dict(self.variables),
        }

    @classmethod
    def read(cls, handle: Handle) -> Place | None:
        """None when it is not a handle of this engine."""
        try:
            variables = dict(handle["variables"])
            return cls(
                key=InstanceKey.parse(str(handle["key"])),
                server=str(handle["server"]),
                project=int(handle["project"]),
                start=int(handle["start"]),
                stop=int(handle["stop"]),
                task=int(handle["task"]),
                variables={str(name): str(value) for name, value in variables.items()},
            )
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it answers, as its playbook was told."""
        try:
            return parse_base_url(self.variables["hestia_base_url"])
        except (KeyError, ValueError):
            return None

    @property
    def health_url(self) -> str:
        return self.variables.get("hestia_health_url", "")


def variables_of(spec: StartSpec, options: SemaphoreOptions, key: InstanceKey) -> dict[str, str]:
    """What both playbooks are told, apart from `hestia_action`."""
    url = urlsplit(spec.base_url)
    told = {
        "hestia_service": str(key.service),
        "hestia_instance": str(key.instance),
        "hestia_instance_key": str(key),
        "hestia_machine": options.machine_id,
        "hestia_machine_address": spec.address,
        "hestia_base_url": spec.base_url,
        "hestia_health_url": spec.health_url,
        "hestia_host": url.hostname or "",
        "hestia_port": str(url.port or _PORTS.get(url.scheme) or ""),
    }
    return {**options.variables, **told}


def told_at(action: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of one task."""
    return {**variables, "hestia_action": action}


def told_by(task: Task) -> dict[str, str]:
    """What a start was told, read from its task; empty where it could be told nothing."""
    return {name: value for name, value in task.variables.items() if name != "hestia_action"}
