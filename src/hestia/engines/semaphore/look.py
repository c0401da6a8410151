"""Whether the service answers at its address: the other half of "does it run", beside its tasks."""

from __future__ import annotations

import asyncio
from typing import Final

from hestia.core.ports import Presence
from hestia.engines.knock import knock
from hestia.engines.semaphore.connection import tls_context
from hestia.engines.semaphore.handle import Place

_TIMEOUT: Final = 2.0  # seconds for the health probe


async def look(place: Place) -> tuple[Presence, str]:
    """Running: its health_url says 2xx or, without one, somebody accepts at the address. Gone: it refuses.

    With a health_url, an answer that is not 2xx is gone too: something in front of it says that it is down.
    Whatever else keeps silent is unknown.
    """
    endpoint = place.endpoint
    if endpoint is None:
        return Presence.UNKNOWN, "where it answers is not known"
    presence, why = await knock(endpoint)
    if presence is not Presence.RUNNING or not place.health_url:
        return presence, why
    return await _ask(place.health_url)


async def _ask(url: str) -> tuple[Presence, str]:
    import httpx  # as in `connection`

    verify = tls_context() if url.lower().startswith("https") else False
    try:
        async with (
            asyncio.timeout(_TIMEOUT),
            httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, verify=verify) as client,
            client.stream("GET", url) as answer,  # its body says nothing, and may be without end
        ):
            status = answer.status_code
    except (TimeoutError, httpx.TimeoutException):
        return Presence.UNKNOWN, f"{url} did not answer within {_TIMEOUT:g} s"
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        return Presence.UNKNOWN, f"{url}: {exc or type(exc).__name__}"
    if 200 <= status < 300:
        return Presence.RUNNING, ""
    return Presence.GONE, f"{url} answers {status}"
