"""What the engine `process` must remember of one instance, and its JSON form, the handle.

Nothing here touches the machine.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from hestia.core.model import Endpoint, InstanceKey
from hestia.core.ports import Handle
from hestia.core.urls import parse_base_url
from hestia.engines.process_table import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """One started program. base_url and health_url have their port filled in.

    key: text form of the instance key. ticks, boot: see `process_table`. group: process group and
    session, the same number as pid. port: 0 when none was picked. log: absolute path of the output.
    log_max: bytes. options_hash: of the options it was started with.
    """

    key: str
    pid: int
    ticks: int
    boot: str
    group: int
    port: int
    base_url: str
    health_url: str
    log: str
    log_max: int
    options_hash: str

    @property
    def identity(self) -> Identity:
        return Identity(self.pid, self.ticks, self.boot)

    @property
    def endpoint(self) -> Endpoint:
        return parse_base_url(self.base_url)

    @property
    def instance_key(self) -> InstanceKey:
        return InstanceKey.parse(self.key)

    def handle(self) -> Handle:
        """The JSON object that finds this program again."""
        return asdict(self)

    @classmethod
    def read(cls, handle: Handle) -> Launched | None:
        """Read a handle back; None when it is not one of this engine's."""
        values: dict[str, Any] = {}  # each checked against its field's type below
        for field in fields(cls):
            value = handle.get(field.name)
            wanted = int if field.type == "int" else str
            if type(value) is not wanted:
                return None
            values[field.name] = value
        launched = cls(**values)
        try:
            _ = launched.endpoint, launched.instance_key
        except ValueError:
            return None
        return launched
