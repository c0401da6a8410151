"""The state folder of a gateway: its identity, and the lock that keeps it to one gateway at a time.

Owns two files, `gateway_id` and `gateway.lock`. What else is kept there belongs to those who keep it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

from hestia.core.errors import ConfigError
from hestia.core.model import GatewayId
from hestia.store.lock import Held, take

_ID: Final = re.compile(r"[a-z0-9]{1,32}")


class StateFolder:
    """One gateway's folder. `open` takes it, `close` gives it back; the end of the process does so too."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = -1

    def open(self) -> GatewayId:
        """Take the folder and return the identity kept in it, made on first use. Raises ConfigError."""
        if not self._path.name:
            raise ConfigError("The settings name no state folder.", remedy="set state_dir")
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take()
            return self._identity()
        except OSError as exc:
            raise ConfigError(
                f'The state folder "{self._path}" cannot be used: {exc.strerror or exc}.',
                remedy="correct its permissions, or set state_dir (HESTIA_STATE_DIR) to another folder",
            ) from exc

    def close(self) -> None:
        """Give the folder back. Twice is fine."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take(self) -> None:
        try:
            self._lock = take(self._path / "gateway.lock")
        except Held as exc:
            raise ConfigError(
                f'{exc.who} uses the state folder "{self._path}".',
                remedy="take its place (hestia serve --takeover), or run another beside it: "
                f"HESTIA_STATE_DIR={self._path}-2 hestia serve",
            ) from exc

    def _identity(self) -> GatewayId:
        """Stamped on everything this gateway starts. Whole or not at all: written beside and renamed."""
        file = self._path / "gateway_id"
        with contextlib.suppress(FileNotFoundError):
            known = file.read_text(encoding="ascii", errors="replace").strip()
            if _ID.fullmatch(known):
                return GatewayId(known)
        made = secrets.token_hex(4)
        part = file.with_suffix(".part")
        part.write_text(made + "\n", encoding="ascii")
        part.replace(file)
        return GatewayId(made)
