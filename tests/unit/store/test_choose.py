"""What `database_url` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from hestia.core.model import GatewaySettings
from hestia.store.choose import database_path, store_for
from hestia.store.memory import MemoryStore
from hestia.store.sqlite import SqliteStore


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", Path("/state/hestia.db")),
        ("sqlite:////var/lib/x.db", Path("/var/lib/x.db")),
        ("sqlite:///x.db", Path("x.db")),
        ("memory:", None),
    ],
)
def test_the_file_that_is_meant(url: str, path: Path | None) -> None:
    assert database_path(GatewaySettings(state_dir="/state", database_url=url)) == path


def test_the_store_that_is_meant() -> None:
    assert isinstance(store_for(GatewaySettings(state_dir="/state")), SqliteStore)
    assert isinstance(store_for(GatewaySettings(database_url="memory:")), MemoryStore)
