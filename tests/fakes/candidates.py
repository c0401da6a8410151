"""Instances and requests for strategies, without a gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hestia.core.lease import Use
from hestia.core.model import (
    Endpoint,
    GatewayId,
    InstanceId,
    InstanceKey,
    InstanceSettings,
    ServiceId,
    ServiceSettings,
)
from hestia.core.records import ServiceRecord
from hestia.core.strategy import Candidate


@dataclass
class FakeAsked:
    """Fits `core.strategy.Asked`."""

    method: str = "GET"
    target: str = "/"
    client: str = "127.0.0.1"
    at: float = 0.0
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    queries: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        return {one.lower(): value for one, value in self.headers.items()}.get(name.lower())

    def cookie(self, name: str) -> str | None:
        return self.cookies.get(name)

    def query(self, name: str) -> str | None:
        return self.queries.get(name)


def instance(name: str, **more: Any) -> InstanceSettings:
    """more: fields of InstanceSettings (any of them, hence Any)."""
    return InstanceSettings(id=InstanceId(name), base_url=f"http://{name}:8000", **more)


class Fleet:
    """The instances of one service, hot or cold as the test says."""

    def __init__(self, *instances: InstanceSettings, hot: Sequence[str] = ()) -> None:
        self.settings = ServiceSettings(id=ServiceId("a"), instances=instances)
        self.record = ServiceRecord(self.settings)
        self.candidates = tuple(Candidate(self.record.slots[one.id], one) for one in instances)
        for name in hot:
            self.warm(name)

    def warm(self, name: str) -> Use:
        """Make an instance hot."""
        slot = self.record.slots[InstanceId(name)]
        key = InstanceKey(GatewayId("gw"), ServiceId("a"), InstanceId(name), 1)
        slot.use = Use(key, Endpoint("http", name, 8000), limit=None, warm_limit=1, now=0.0, owner=slot)
        slot.use.warm = True
        return slot.use

    def busy(self, name: str, count: int) -> None:
        """So many requests in flight."""
        use = self.record.slots[InstanceId(name)].use
        assert use is not None
        for _ in range(count):
            use.grant()

    def eject(self, name: str) -> None:
        next(one for one in self.candidates if one.id == name).ejected = True
