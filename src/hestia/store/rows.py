"""Records ↔ rows of the tables. Owns every statement that writes, and the JSON in the columns.

Called in the threads of the store; nothing here waits for anything but the database.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
from hestia.core.ports import Intent, Kept, Memory, RequestEntry, Row, StoredRow
from hestia.store.ledger import Fact, Place

Columns = tuple[Any, ...]  # a row of SQLite's values

_GENERATION: Final = (
    "engine, options_hash, episode, at, state, handle, endpoint, health_url, last_used, external"
)
EVENT: Final = (
    "id, at, service, instance, generation, event, before, after, cause, actor, episode, lasted, data"
)
REQUEST: Final = "id, request_id, at, service, document"


def as_json(value: object) -> str:
    """JSON text; what JSON does not know stands there as its text, so that no row is ever refused."""
    try:
        return json.dumps(value, separators=(",", ":"), default=str)
    except (TypeError, ValueError):  # keys that are no text, or a circle
        return json.dumps({"unreadable": repr(value)})


def _object(text: str) -> dict[str, Any]:
    """The JSON object in a column; an empty one where somebody's hand left something else."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: str) -> str:
    """Text that SQLite takes: half of a surrogate pair, as undecodable bytes become, it does not."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


# -- what is never pruned ----------------------------------------------------------------------


def write_kept(db: sqlite3.Connection, kept: Mapping[InstanceKey, Kept | None]) -> None:
    """Generations as they are now; None is one that is gone."""
    for key, one in kept.items():
        where = (key.gateway, key.service, key.instance, key.generation)
        if one is None:
            db.execute(
                "DELETE FROM generations WHERE (gateway, service, instance, generation) = (?, ?, ?, ?)",
                where,
            )
        else:
            db.execute(
                f"REPLACE INTO generations (gateway, service, instance, generation, {_GENERATION})"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*where, *_generation(one)),
            )


def _generation(one: Kept) -> Columns:
    intent = one.intent
    return (
        intent.engine,
        intent.options_hash,
        intent.episode,
        intent.at,
        one.state,
        None if one.handle is None else as_json(one.handle),
        _text(one.endpoint),
        _text(one.health_url),
        one.last_used,
        int(one.external),
    )


def write_numbers(db: sqlite3.Connection, owner: GatewayId, numbers: Mapping[Place, int]) -> None:
    """The highest numbers used; one never falls."""
    db.executemany(
        "INSERT INTO numbers VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET highest = max(highest, excluded.highest)",
        [(owner, *place, number) for place, number in numbers.items()],
    )


def write_facts(
    db: sqlite3.Connection, owner: GatewayId, facts: Mapping[Fact, Mapping[str, object] | None]
) -> None:
    """Facts as they are now; None is one that is forgotten."""
    for (kind, name), value in facts.items():
        where = (owner, _text(kind), _text(name))
        if value is None:
            db.execute("DELETE FROM facts WHERE (gateway, kind, name) = (?, ?, ?)", where)
        else:
            db.execute("REPLACE INTO facts VALUES (?, ?, ?, ?)", (*where, as_json(value)))


def read_memory(db: sqlite3.Connection, owner: GatewayId) -> Memory:
    """What is kept of one gateway."""
    kept = [
        _kept(owner, columns)
        for columns in db.execute(
            f"SELECT service, instance, generation, {_GENERATION} FROM generations WHERE gateway = ?"
            " ORDER BY service, instance, generation",
            (owner,),
        )
    ]
    numbers = db.execute("SELECT service, instance, highest FROM numbers WHERE gateway = ?", (owner,))
    facts = db.execute("SELECT kind, name, value FROM facts WHERE gateway = ?", (owner,))
    return Memory(
        kept=tuple(kept),
        generations={
            (ServiceId(service), InstanceId(instance)): highest for service, instance, highest in numbers
        },
        facts={(kind, name): _object(value) for kind, name, value in facts},
    )


def _kept(owner: GatewayId, columns: Columns) -> Kept:
    service, instance, generation, engine, options_hash, episode, at, state, handle, *rest = columns
    endpoint, health_url, last_used, external = rest
    key = InstanceKey(owner, ServiceId(service), InstanceId(instance), generation)
    return Kept(
        intent=Intent(key=key, engine=engine, options_hash=options_hash, episode=episode, at=at),
        state=state,
        handle=None if handle is None else _object(handle),
        endpoint=endpoint,
        health_url=health_url,
        last_used=last_used,
        external=bool(external),
    )


# -- what is pruned ----------------------------------------------------------------------------


def write_events(db: sqlite3.Connection, rows: Iterable[StoredRow]) -> None:
    """Events under the numbers they were given."""
    db.executemany(
        f"REPLACE INTO events ({EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_event, rows)
    )


def _event(stored: StoredRow) -> Columns:
    row = stored.row
    texts = (row.event, row.before, row.after, row.cause, row.actor, row.episode)
    return (
        stored.id,
        row.at,
        _text(row.service),
        _text(row.instance),
        row.generation,
        *map(_text, texts),
        row.lasted,
        as_json(row.data),
    )


def event(columns: Columns) -> StoredRow:
    """A row of `EVENT`."""
    number, at, service, instance, generation, name, before, after, cause, actor, episode, lasted, data = (
        columns
    )
    return StoredRow(
        number,
        Row(
            at=at,
            service=service,
            instance=instance,
            generation=generation,
            event=name,
            before=before,
            after=after,
            cause=cause,
            actor=actor,
            episode=episode,
            lasted=lasted,
            data=_object(data),
        ),
    )


def write_requests(db: sqlite3.Connection, entries: Iterable[RequestEntry]) -> None:
    """Requests under the numbers they were given."""
    db.executemany(
        f"REPLACE INTO requests ({REQUEST}) VALUES (?, ?, ?, ?, ?)",
        (
            (one.id, _text(one.request_id), one.at, _text(one.service), as_json(one.document))
            for one in entries
        ),
    )


def request(columns: Columns) -> RequestEntry:
    """A row of `REQUEST`."""
    number, request_id, at, service, document = columns
    return RequestEntry(id=number, request_id=request_id, at=at, service=service, document=_object(document))


def last_number(db: sqlite3.Connection) -> int:
    """The highest number that an event or a request ever had, pruned ones included."""
    (highest,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
    return int(highest)
