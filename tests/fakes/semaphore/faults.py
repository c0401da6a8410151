"""What goes wrong with calls, on purpose: which calls, how, and how often."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from enum import StrEnum

HTML = "<!DOCTYPE html><html><head><title>Ansible Semaphore</title></head><body></body></html>"


class Kind(StrEnum):
    """How a call goes wrong.

    DROP_CALL: the connection is cut and nothing is done; DROP_REPLY: it is done, then cut. HOLD_CALL,
    HOLD_REPLY: the same, but held until the fault is released, and then as usual. HTML: the web page with
    status 200. ENDLESS: JSON that begins and does not end. UNAUTHORIZED: as with an expired token. STATUS:
    any other, without a body.
    """

    DROP_CALL = "drop_call"
    DROP_REPLY = "drop_reply"
    HOLD_CALL = "hold_call"
    HOLD_REPLY = "hold_reply"
    HTML = "html"
    ENDLESS = "endless"
    UNAUTHORIZED = "unauthorized"
    STATUS = "status"


@dataclass(eq=False, slots=True)
class Fault:
    """One misbehaviour. method: empty for any. path: a regular expression looked for in the path.

    times: how many calls it meets, None for all until it is lifted. met: how many it has met.
    """

    kind: Kind
    method: str = ""
    path: str = ""
    times: int | None = 1
    status: int = 502
    met: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def release(self) -> None:
        """Let go what is held."""
        self.released.set()


class Faults:
    """Those in force, in the order in which they were added; the first that fits meets the call."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._holding: set[Fault] = set()

    def add(self, fault: Fault) -> Fault:
        """Put one in force."""
        self._faults.append(fault)
        return fault

    def lift(self, fault: Fault | None = None) -> None:
        """End one, or all; what they held is let go."""
        for one in list(self._faults) if fault is None else [fault]:
            one.release()
            if one in self._faults:
                self._faults.remove(one)
        if fault is None:
            self.let_go()  # one that was to meet a single call is in force no more, and holds it still

    def let_go(self) -> None:
        """Release every fault that holds something, without lifting those that hold the next call."""
        for fault in self._holding:
            fault.release()

    async def hold(self, fault: Fault) -> None:
        """Wait until the fault is released."""
        self._holding.add(fault)
        try:
            await fault.released.wait()
        finally:
            self._holding.discard(fault)

    def meet(self, method: str, path: str) -> Fault | None:
        """The fault for a call, counted."""
        for fault in self._faults:
            if fault.method in ("", method) and re.search(fault.path, path):
                fault.met += 1
                if fault.times is not None and fault.met >= fault.times:
                    self._faults.remove(fault)
                return fault
        return None
