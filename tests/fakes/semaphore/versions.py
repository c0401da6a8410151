"""What differs between the Semaphore servers that the stand-in can be: one frozen value for each.

The facts are those of the recorded exchanges: release 2.10.32 on BoltDB and the 2.16 branch on PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """The states of a task. Only `success`, `error` and `stopped` are final."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    WAITING_CONFIRMATION = "waiting_confirmation"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SUCCESS = "success"
    ERROR = "error"


FINAL: Final = frozenset({Status.SUCCESS, Status.ERROR, Status.STOPPED})


@dataclass(frozen=True, slots=True)
class Version:
    """One server. tick: seconds between two looks at its queue, 0 when it reacts to events.

    modern: everything that came between the two recorded servers and is not a field of its own: objects
    in the answers to POST, empty fields left out, `raw_output`, `reject`, flags that allow a `limit`.
    """

    name: str
    text: str
    tick: float
    modern: bool
    ids_count_down: bool
    unknown_template: int
    killed: Status
    group_wins: bool


V2_10: Final = Version(
    name="2.10",
    text="v2.10.32-0000000-1730000000",
    tick=5.0,
    modern=False,
    ids_count_down=True,
    unknown_template=500,
    killed=Status.ERROR,
    group_wins=True,
)
V2_16: Final = Version(
    name="2.16",
    text="2.16.0-0000000-1762000000",
    tick=0.0,
    modern=True,
    ids_count_down=False,
    unknown_template=404,
    killed=Status.STOPPED,
    group_wins=False,
)
VERSIONS: Final = {version.name: version for version in (V2_10, V2_16)}
