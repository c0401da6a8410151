"""A stand-in for Ansible Semaphore over real sockets, held against recordings of real servers.

In a test: `async with Semaphore(tick=0) as server:`, then `furnish(server.world)`. As a program:
`python -m tests.fakes.semaphore --help`. Left out: integrations, schedules, views, events, backup, and
repositories that have to be cloned.
"""

from .ansible import AnsiblePlay
from .faults import Fault, Faults, Kind
from .plays import Held, Play, Run, acts, asks, fails, hangs, in_turn, succeeds
from .scene import Scene, add_template, furnish
from .server import Seen, Semaphore
from .versions import FINAL, V2_10, V2_16, VERSIONS, Status, Version

__all__ = [
    "FINAL",
    "V2_10",
    "V2_16",
    "VERSIONS",
    "AnsiblePlay",
    "Fault",
    "Faults",
    "Held",
    "Kind",
    "Play",
    "Run",
    "Scene",
    "Seen",
    "Semaphore",
    "Status",
    "Version",
    "acts",
    "add_template",
    "asks",
    "fails",
    "furnish",
    "hangs",
    "in_turn",
    "succeeds",
]
