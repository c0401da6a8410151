"""The lock that one process holds: who only asks for its holder keeps nobody from it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hestia.store import lock


@pytest.mark.parametrize("take", [lock.take, lock.take_unwritable])
def test_one_who_asks_in_the_same_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Callable[[Path], int]
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 60.0)
    path = tmp_path / "gateway.lock"
    path.touch()
    asking = os.open(path, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.05, os.close, (asking,)).start()
    os.close(take(path))


def test_one_who_has_it_for_good_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gateway.lock"
    held = lock.take(path)
    with pytest.raises(lock.Held) as refused:
        lock.take(path)
    assert refused.value.holder == lock.holder(path) == str(os.getpid())
    os.close(held)
    assert lock.holder(path) == ""
