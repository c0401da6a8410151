"""The tables of the database, as a list of steps from nothing to today.

Owns what a file of Hestia's looks like. A step that was released is never changed: a new one follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

APPLICATION_ID: Final = 0x48657374  # "Hest"; in the file's header, so that no other program's file is taken

Step = Sequence[str]  # statements, run in one transaction

# generations holds what may still run; numbers what was ever used; both and facts are never pruned.
_FIRST: Final[Step] = (
    """CREATE TABLE generations (
        gateway TEXT NOT NULL, service TEXT NOT NULL, instance TEXT NOT NULL, generation INTEGER NOT NULL,
        engine TEXT NOT NULL, options_hash TEXT NOT NULL, episode TEXT NOT NULL, at REAL NOT NULL,
        state TEXT NOT NULL, handle TEXT, endpoint TEXT NOT NULL, health_url TEXT NOT NULL,
        last_used REAL, external INTEGER NOT NULL,
        PRIMARY KEY (gateway, service, instance, generation)) WITHOUT ROWID""",
    """CREATE TABLE numbers (
        gateway TEXT NOT NULL, service TEXT NOT NULL, instance TEXT NOT NULL, highest INTEGER NOT NULL,
        PRIMARY KEY (gateway, service, instance)) WITHOUT ROWID""",
    """CREATE TABLE facts (
        gateway TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (gateway, kind, name)) WITHOUT ROWID""",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, service TEXT NOT NULL,
        instance TEXT NOT NULL, generation INTEGER NOT NULL, event TEXT NOT NULL,
        before TEXT NOT NULL, after TEXT NOT NULL, cause TEXT NOT NULL, actor TEXT NOT NULL,
        episode TEXT NOT NULL, lasted REAL NOT NULL, data TEXT NOT NULL)""",
    "CREATE INDEX events_at ON events (at)",
    "CREATE INDEX events_service ON events (service, id)",
    "CREATE INDEX events_episode ON events (episode) WHERE episode <> ''",
    """CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, at REAL NOT NULL,
        service TEXT NOT NULL, document TEXT NOT NULL)""",
    "CREATE INDEX requests_id ON requests (request_id)",
    "CREATE INDEX requests_at ON requests (at)",
    "CREATE INDEX requests_service ON requests (service, id)",
)

STEPS: Final[Sequence[Step]] = (_FIRST,)  # a file's version is the number of steps it has seen
