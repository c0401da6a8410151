"""How a request that waits becomes the waiting page, and how what the page asks for is answered.

Owns the moment between the queue and the page. The page itself is made by the control API: the exchange
hands its place in the queue over (`Pages`) and goes on as a request to that API, so that nothing is rendered
here and a stream is relayed like any other. Source: experience.md WP-03, WP-04, WP-08, WP-11.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from hestia.access import origin
from hestia.core.errors import (
    EngineError,
    HestiaError,
    QueueFull,
    QueueTimeout,
    StartError,
    StoreUnavailable,
)
from hestia.core.model import ServiceId
from hestia.core.queue import Waiter
from hestia.core.routing import Match, Route, RouteKind
from hestia.proxy.chosen import Chosen
from hestia.proxy.page import Ask, gets_page, read_wait

if TYPE_CHECKING:
    from hestia.http1.heads import Request

HOLD: Final = 0.4  # seconds a navigation is held before it becomes a page (WP-03)
_TOLD: Final = (StartError, EngineError, StoreUnavailable, QueueTimeout, QueueFull)
PAGE_CODE: Final = "waiting_page"  # of access lines
_VERBS: Final = {Ask.START: "start", Ask.LEAVE: "leave"}


class Pages(Protocol):
    """What stands behind a waiting page; `runtime.visits.Visits` is it. who: client and address asked for.

    again: the visit of a page without script that asks once more; "" where there is none.
    take: the waiter is the page's from here on; the new visit.
    refused: a visit for a page that can only say why.
    """

    def again(self, service: ServiceId, who: tuple[str, bytes]) -> str: ...
    def take(self, service: ServiceId, waiter: Waiter, who: tuple[str, bytes]) -> str: ...
    def refused(self, service: ServiceId, error: HestiaError) -> str: ...


def tells_owner(request: Request) -> bool:
    """Whether who asks may read what helps the owner: machine, commands, output, remedies (WP-15).

    Everybody may while there are no keys. This is the one place where the page learns of them.
    """
    del request
    return True


class Paged(Chosen):
    """The part of an exchange that knows of the page."""

    __slots__ = ("_waiter",)

    _waiter: Waiter | None

    @abstractmethod
    def _stop_trying(self) -> None:
        """Leave the queue, the dial and the timer."""

    def _gets_page(self) -> bool:
        """Whether a page may be the answer: not once the service has given one, or a page was asked for."""
        route = self._route()
        if route is None or self._path.pages is None or self._kept is not None or self._given:
            return False
        if self._upstream is self._path.control:
            return False
        if route.settings.fallback_url:  # whoever is held goes there when the start fails; a page could not
            return False
        return gets_page(self.request, route.settings.on_cold)

    def _is_page_again(self, route: Route) -> bool:
        """A page without script comes back: it has its place already. True when it was answered."""
        pages = self._path.pages
        if pages is None or not self._gets_page():
            return False
        visit = pages.again(route.service, self._who())
        if visit:
            self._show(route, visit, PAGE_CODE)
        return bool(visit)

    def _hold(self) -> None:
        """The request waits; if that takes longer than a moment, the page is the answer."""
        if self._gets_page():
            self._timer = self._path.later(HOLD, self._turn)

    def _turn(self) -> None:
        """Hand the place in the queue over and show the page."""
        self._timer = None
        waiter, route, pages = self._waiter, self._route(), self._path.pages
        if self._ended or waiter is None or route is None or pages is None:
            return
        try:
            if not self._path.leases.is_cold(route.service, waiter.candidates):
                return  # it is hot, only busy: its turn comes soon
            self._waiter = None
            self._note("page")
            self._show(route, pages.take(route.service, waiter, self._who()), PAGE_CODE)
        except HestiaError as error:
            self._refused(error)

    def _becomes_page(self, error: HestiaError) -> bool:
        """Say on a page why it cannot be had. False: the problem is answered as it is."""
        route, pages = self._route(), self._path.pages
        if route is None or pages is None or not isinstance(error, _TOLD) or not self._gets_page():
            return False
        if isinstance(error, QueueTimeout | QueueFull) and not self._path.leases.is_cold(route.service):
            return False
        self._note("refused", text=error.detail, remedy=error.remedy)
        self._stop_trying()
        if self._lease is not None:
            self._give_back(self._lease, error)
        self._show(route, pages.refused(route.service, error), error.code)
        return True

    def _answer_page(self, route: Route) -> None:
        """A waiting page asks: the gateway answers, whatever the service does, and never passes it on."""
        origin.check_control(self.request, self.host)
        asked = read_wait(self.request)
        verb = _VERBS.get(asked.what) or ("follow" if asked.stream else "look")
        self._ask_control(Match(RouteKind.CONTROL, None, self._inside(verb, route, asked.visit)))

    def _show(self, route: Route, visit: str, code: str) -> None:
        match = self._match
        assert match is not None
        self.code = code
        self._ask_control(Match(match.kind, route, self._inside("page", route, visit)))

    def _ask_control(self, match: Match) -> None:
        self._match, self._rules = match, None  # what the service wants of fields is not for our own answers
        self._upstream = self._path.control
        self._connect()

    def _inside(self, verb: str, route: Route, visit: str) -> bytes:
        detail = "&detail=1" if tells_owner(self.request) else ""
        return f"{self._path.inside}/{verb}?service={route.service}&visit={visit}{detail}".encode()

    def _who(self) -> tuple[str, bytes]:
        return self._client.peer, self.host + self.request.target
