"""The state folder of a gateway: its identity, and the lock that keeps it to one gateway at a time.

Owns two files, `gateway_id` and `gateway.lock`. What else is kept there belongs to those who keep it. A
folder that is there and cannot be written is taken all the same: who has it proxies, and says what is wrong.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from pathlib import Path
from typing import Final

from hestia.core.errors import ConfigError
from hestia.core.model import GatewayId
from hestia.store.lock import Held, take, take_unwritable
from hestia.store.trouble import is_read_only

_ID: Final = re.compile(r"[a-z0-9]{1,32}")
_UNWRITABLE: Final = frozenset((errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT))


class StateFolder:
    """One gateway's folder. `open` takes it, `close` gives it back; the end of the process does so too.

    trouble: why nothing can be written in it, with the remedy; "" when all is well.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._locks: list[int] = []
        self.trouble = ""

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
                remedy=self._remedy(),
            ) from exc

    def close(self) -> None:
        """Give the folder back. Twice is fine."""
        while self._locks:
            os.close(self._locks.pop())

    def _remedy(self) -> str:
        mend = "mount it for writing" if is_read_only(self._path) else "correct its permissions"
        return f"{mend}, or set state_dir (HESTIA_STATE_DIR) to another folder"

    def _note(self, exc: OSError) -> None:
        """What cannot be written. Raises the error where it is another one."""
        if exc.errno not in _UNWRITABLE:
            raise exc
        what = f'The state folder "{self._path}" cannot be written: {exc.strerror or exc}.'
        self.trouble = f"{what} To do: {self._remedy()}."

    def _take(self) -> None:
        """Two locks: the folder's own is there also where no file can be made."""
        try:
            try:
                self._locks.append(take(self._path / "gateway.lock"))
            except OSError as exc:
                self._note(exc)
                with contextlib.suppress(FileNotFoundError):
                    self._locks.append(take_unwritable(self._path / "gateway.lock"))
            try:
                self._locks.append(take_unwritable(self._path))
            except OSError:  # some file systems lock no folders
                if not self._locks:
                    raise
        except Held as exc:
            self.close()
            raise ConfigError(
                f'{exc.who} uses the state folder "{self._path}".',
                remedy="take its place (hestia serve --takeover), or run another beside it: "
                f"HESTIA_STATE_DIR={self._path}-2 hestia serve",
            ) from exc
        except OSError:
            self.close()
            raise

    def _identity(self) -> GatewayId:
        """Stamped on everything this gateway starts. Whole or not at all: written beside and renamed."""
        file = self._path / "gateway_id"
        with contextlib.suppress(FileNotFoundError):
            known = file.read_text(encoding="ascii", errors="replace").strip()
            if _ID.fullmatch(known):
                return GatewayId(known)
        made = secrets.token_hex(4)
        part = file.with_suffix(".part")
        try:
            part.write_text(made + "\n", encoding="ascii")
            part.replace(file)
        except OSError as exc:
            self._note(exc)  # an identity for this time: nobody finds what is started under it
        return GatewayId(made)
