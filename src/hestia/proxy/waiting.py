"""What a request for a service without a free lease gets: it is held, unless a rule says otherwise.

The rules are looked at before the request joins the queue, so that nothing is started by a request that
is refused. Who is held and gets a page is `page`'s business. Source: SPEC 3, proxy-semantics CQ, SE-14.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Protocol

from hestia.access.origin import is_cross_site_subresource
from hestia.core import reasons
from hestia.core.errors import AlreadyRunning, CrossSiteWake, QueueTimeout
from hestia.core.model import InstanceId, OnCold, ServiceId
from hestia.core.routing import Route
from hestia.http1.fields import tokens
from hestia.proxy.page import is_prefetch

if TYPE_CHECKING:
    from hestia.proxy.exchange import Exchange


class Starter(Protocol):
    """What the gateway offers here."""

    def start(self, service: ServiceId, *, actor: str, instance: InstanceId | None = None) -> None: ...
    def is_cold(self, service: ServiceId, candidates: tuple[InstanceId, ...] | None = None) -> bool: ...
    def estimate(self, service: ServiceId) -> float | None: ...
    def queued(self, service: ServiceId) -> int: ...


class Waiting:
    """Decides for one request at a time; keeps nothing."""

    def __init__(self, starter: Starter) -> None:
        self._starter = starter

    def answer_instead(
        self, exchange: Exchange, route: Route, candidates: tuple[InstanceId, ...] | None
    ) -> bool:
        """True when the request was answered here. candidates: as for the queue. Raises what it is refused
        with."""
        request, service = exchange.request, route.service
        if not self._starter.is_cold(service, candidates):
            return False
        first = candidates[0] if candidates else None
        if exchange.quiet:
            raise reasons.dormant(service, retry_after=self._starter.estimate(service))
        rules = route.settings.rules
        if is_cross_site_subresource(request, exchange.host, rules.origins if rules is not None else ()):
            raise CrossSiteWake(
                f'A page of another site may not start "{service}".',
                remedy="open the service itself once, start it (hestia start "
                f"{service}), or list the page's origin: services.{service}.cors.origins",
                service_id=service,
            )
        if is_prefetch(request):
            raise reasons.not_opened(service)
        if _prefers_async(request.get(b"prefer")):
            self._begin(service, exchange, first)
            self._accepted(exchange, service)
            return True
        if route.settings.on_cold is OnCold.REJECT:
            self._begin(service, exchange, first)
            estimate = self._starter.estimate(service)
            about = f"about {estimate:.0f} s" if estimate is not None else "the time is not known yet"
            raise QueueTimeout(
                f'"{service}" is being started ({about}); on_cold is reject, so the request does not wait.',
                remedy="send it again when the service is hot",
                stage="queue",
                service_id=service,
                retry_after=estimate or 1.0,
            )
        return False

    def _begin(self, service: ServiceId, exchange: Exchange, instance: InstanceId | None) -> None:
        try:
            self._starter.start(service, actor=exchange.request_id, instance=instance)
        except AlreadyRunning:
            return

    def _accepted(self, exchange: Exchange, service: ServiceId) -> None:
        """202 with place, estimate and where to ask (Prefer: respond-async, RFC 7240)."""
        estimate = self._starter.estimate(service)
        body = {
            "serviceId": service,
            "requestId": exchange.request_id,
            "state": "starting",
            "queuePending": self._starter.queued(service),
            "estimatedReadyMs": None if estimate is None else round(estimate * 1000),
            "status": f"/v1/services/{service}/status",
        }
        fields = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"preference-applied", b"respond-async"),
            (b"location", f"/v1/services/{service}/status".encode()),
            (b"retry-after", str(max(1, math.ceil(estimate or 1.0))).encode()),
        ]
        exchange.answer(202, fields, json.dumps(body).encode(), code="accepted")


def _prefers_async(value: bytes | None) -> bool:
    return value is not None and b"respond-async" in [item.partition(b";")[0] for item in tokens((value,))]
