"""The loader of these tests, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.loading import Loader


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)
