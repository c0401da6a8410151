"""What a request gets when no further attempt helps: the fallback, or the last answer of the service.

Owns how an attempt is taken back, so that the next one, or the last resort, begins from the request again.
When to make which attempt is `attempts`' business. Source: proxy-semantics RF-05, RF-06, RF-07.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from hestia.core.errors import EngineError, HestiaError, StartError, StoreUnavailable, UpstreamError
from hestia.core.lease import Lease
from hestia.core.model import InstanceId
from hestia.core.routing import Route, RoutedMatch
from hestia.proxy.relay import NEVER, Relay

if TYPE_CHECKING:
    from hestia.http1.pool import Dial

log = logging.getLogger(__name__)

_NOT_STARTED: Final = (StartError, EngineError, StoreUnavailable)


class Resorts(Relay):
    """The end of an exchange's attempts; its fields are set in `Exchange`."""

    __slots__ = ("_dial", "_ended", "_failed", "_timer")

    _dial: Dial | None
    _timer: asyncio.TimerHandle | None
    _failed: dict[InstanceId, HestiaError]
    _ended: bool

    @abstractmethod
    def _connect(self) -> None:
        """Get a connection to the upstream that is set."""

    @abstractmethod
    def response_failed(self, error: UpstreamError, *, clean: bool) -> None:
        """As `http1.upstream.Exchange` has it."""

    @abstractmethod
    def _stop_trying(self) -> None:
        """Leave the queue, the dial and the pause between two attempts; drop an answer that is kept."""

    def _route(self) -> Route | None:
        return self._match.route if self._match is not None else None

    def _give_back(self, lease: Lease, error: HestiaError) -> None:
        """Release the lease of an attempt that failed; another instance is preferred for the next."""
        route = self._route()
        assert route is not None
        self._failed[lease.use.key.instance] = error
        if len(self._failed) == len(route.settings.instances):
            self._failed.clear()
        self._lease = None
        self._path.release(lease)

    def _blame(self, status: int = 0) -> None:
        """Tell the strategy that its instance failed. status: of its answer, 0 where it gave none."""
        lease, match = self._lease, self._match
        if lease is not None and isinstance(match, RoutedMatch) and match.route is not None:
            self._path.choosers.failed(match.route.service, lease.use, status)

    def _rewind(self) -> None:
        """The next attempt begins with the same body, and its waits have deadlines of their own (CQ-08)."""
        self._deadline = NEVER
        self._unwanted = False
        copy, self._copy = self._copy, None
        if copy is not None:
            parts = copy.parts
            copy.free()
            for data in parts:
                self._to_spool(data)

    # -- the last resorts ----------------------------------------------------------------------

    def _give_up(self, error: HestiaError, *, keep: bool = True) -> None:
        """No further attempt: the last answer of the service, if it gave one (RF-07); else `fail`."""
        if not self._resorts(error):
            self.fail(error, keep=keep)

    def _resorts(self, error: HestiaError) -> bool:
        """Pass on the answer that was kept. False: there is none, and nothing was changed."""
        kept, self._kept = self._kept, None
        if kept is None or self._ended:
            return False
        self._stop_trying()
        if self._connection is not None:
            self._connection.abort()
        if self._lease is not None:
            self._give_back(self._lease, error)
        if self._copy is not None:
            self._copy.free()
        if self._spooled:
            self._take_spool()
        log.info(
            "No other answer came, so the service's last one is passed on: %s",
            error.detail,
            extra={"event_type": "retry_failed", "request_id": self.request_id},
        )
        self._note("kept", text=error.detail)
        self._upstream, self._fallback = kept.upstream, None
        self._connection = connection = kept.hand_over(self)
        if connection is not None:
            connection.resume()
        self._client.resume()  # a body that nobody needs any more may have filled what it waited in
        kept.replay(self)
        return True

    def _refused(self, error: HestiaError) -> None:
        """There is no lease to be had: what could not be started may have a fallback."""
        if not (isinstance(error, _NOT_STARTED) and self.falls_back(error)):
            self._give_up(error)

    def falls_back(self, error: HestiaError) -> bool:
        """Send the request to `fallback_url`, if there is one and it was not asked yet (RF-06)."""
        match, route = self._match, self._route()
        if match is None or route is None or self._fallback is not None or not route.settings.fallback_url:
            return False
        if self._ended:
            return False
        self._note("fallback", text=error.detail)
        self._fallback = error
        if self._lease is not None:
            self._give_back(self._lease, error)
        self._rewind()
        self.t_leased = self._path.clock()
        self._upstream = self._path.fallback(match, route)
        log.info(
            "A request goes to the fallback %s: %s",
            self._upstream.endpoint,
            error.detail,
            extra={"event_type": "failover", "service_id": route.service, "request_id": self.request_id},
        )
        self._connect()
        return True


def both(first: HestiaError, second: UpstreamError) -> HestiaError:
    """What to say when neither the service nor its fallback can be reached; its own reason leads."""
    if isinstance(first, _NOT_STARTED):
        first = first.twin()  # it is told to others too
        first.detail += f" Its fallback cannot be reached either: {second.detail}"
        return first
    second.remedy = "start the service, or correct its fallback_url"
    second.detail = f"{first.detail} Its fallback cannot be reached either: {second.detail}"
    return second
