"""Keys of the contract (SPEC 2) whose feature is not built yet: refused as such, never ignored.

Building one means to move its row into `models`. A row has the type it will have, so that a file written
today for a later version is written right, and the feature in the words of the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Later:
    """A key to come. type: what it will take. feature: what it belongs to. spans: durations, so `_ms` too."""

    type: str
    feature: str
    span: bool = False


_MACHINES: Final = "machines and placement"
_SURVIVAL: Final = "surviving restarts"
_ACCESS: Final = "access control"

SERVICE: Final[dict[str, Later]] = {
    "machines": Later("list of names", _MACHINES),
    "pending_timeout": Later("duration", "engines that queue", span=True),
    "stop_mode": Later("stop or pause", "engines that can pause"),
    "access": Later("mapping", _ACCESS),
}

GATEWAY: Final[dict[str, Later]] = {
    "placement": Later("list of rules", _MACHINES),
    "access": Later("mapping", _ACCESS),
    "api_keys": Later("list", _ACCESS),
    "dashboard": Later("mapping", _ACCESS),
}

ENGINES: Final[dict[str, str]] = {
    "docker": "the Docker engine",
    "compose": "the Compose engine",
    "systemd": "the systemd engine",
    "ssh": "the SSH engine",
    "slurm": "the Slurm engine",
    "kubernetes": "the Kubernetes engine",
    "wake_on_lan": _MACHINES,
    "http": "the HTTP engine",
}

ENVIRONMENT: Final[dict[str, str]] = {
    "HESTIA_API_KEYS": _ACCESS,
    "HESTIA_DASHBOARD_USERNAME": _ACCESS,
    "HESTIA_DASHBOARD_PASSWORD": _ACCESS,
}


def refusal(feature: str) -> str:
    """The sentence for a key whose feature does not exist yet."""
    return f"not available yet in this version ({feature}); remove the key for now"


def spellings(table: dict[str, Later]) -> dict[str, Later]:
    """The table with `_ms` and `_seconds` of its durations."""
    known = dict(table)
    for name, later in table.items():
        if later.span:
            known[f"{name}_ms"] = known[f"{name}_seconds"] = later
    return known
