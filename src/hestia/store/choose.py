"""Which store a gateway has: what `database_url` means.

Owns the form of that address. Whether it can be used shows when the store is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hestia.core.model import GatewaySettings
from hestia.core.ports import Store
from hestia.store.database import Database
from hestia.store.memory import MemoryStore
from hestia.store.sqlite import SqliteStore

FILE: Final = "hestia.db"  # in the state folder
_SCHEME: Final = "sqlite:///"


def database_path(settings: GatewaySettings) -> Path | None:
    """The file of the database; None where nothing is to be kept."""
    url = settings.database_url
    if not url:
        return Path(settings.state_dir) / FILE
    return Path(url.removeprefix(_SCHEME)) if url.startswith(_SCHEME) else None


def store_for(settings: GatewaySettings) -> Store:
    """The store that the settings ask for, not open yet."""
    path = database_path(settings)
    if path is None:
        return MemoryStore()
    return SqliteStore(Database(path), keep=settings.retention, required=not settings.start_without_store)
