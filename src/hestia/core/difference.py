"""What two configurations differ in: which services, and which keys of the gateway itself. Pure.

Only what differs is touched by a reload, so this is the whole of what a reload may do (SPEC 2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

from hestia.core.model import GatewaySettings, ServiceId, Settings

# Keys of the gateway that are read again and again; every other one needs a restart.
LIVE: Final = frozenset(
    {
        "log_level", "allowed_hosts", "trusted_proxies", "identity_headers", "on_exit", "orphan_policy",
        "strategies", "machines", "semaphore_base_url", "semaphore_api_key", "semaphore_username",
        "semaphore_password", "semaphore_project", "semaphore_timeout", "waiting_page",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Ids in the order of the configuration. gateway: keys of the gateway that change now.

    waiting: keys of the gateway that changed and take effect at a restart; they keep their old value.
    """

    added: tuple[ServiceId, ...] = ()
    removed: tuple[ServiceId, ...] = ()
    changed: tuple[ServiceId, ...] = ()
    gateway: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        raise TypeError("a difference has no truth value; ask `is_empty`")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done; keys that wait for a restart are nothing to be done."""
        return not (self.added or self.removed or self.changed or self.gateway)


def difference(old: Settings, new: Settings) -> Difference:
    """What a reload has to do to get from the one to the other."""
    keys = [
        field.name
        for field in fields(GatewaySettings)
        if getattr(old.gateway, field.name) != getattr(new.gateway, field.name)
    ]
    return Difference(
        added=tuple(key for key in new.services if key not in old.services),
        removed=tuple(key for key in old.services if key not in new.services),
        changed=tuple(key for key, one in new.services.items() if old.services.get(key, one) != one),
        gateway=tuple(key for key in keys if key in LIVE),
        waiting=tuple(key for key in keys if key not in LIVE),
    )


def applied(old: Settings, new: Settings) -> Settings:
    """The new settings, with the old value of what needs a restart, and where that value came from."""
    waiting = difference(old, new).waiting
    gateway = replace(new.gateway, **{name: getattr(old.gateway, name) for name in waiting})
    sources = {key: told for key, told in new.sources.items() if key.partition(".")[0] not in waiting}
    kept = {key: told for key, told in old.sources.items() if key.partition(".")[0] in waiting}
    return replace(new, gateway=gateway, sources={**sources, **kept})
