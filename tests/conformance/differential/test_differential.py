"""The same bytes to Hestia and to nginx, HAProxy and Go's ReverseProxy: every difference has its reason.

Where only the other passes something, Hestia is the stricter one, and the corpora hold its reason. The rest
is looked up in `REASONS`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance.replay import ANSWERS, everything
from tests.fakes.upstream import RawUpstream
from tests.integration.conftest import MakeUpstream
from tests.integration.harness import MakeGateway

from .compare import Seen, cases, kind, table, through
from .peers import PEERS, missing, running

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1800)]

STRICTER = "only the other passes it"
REASONS = [
    (rb" (RTSP|ICE)/", "These are no HTTP (RT-01)."),
    (rb"\n(Transfer|Content)_", "Underscore twins of framing fields are dropped here (HQ-09)."),
    (rb"HTTP/1\.0\r\n.*content-length: [1-9]", "HAProxy takes no body on GET in 1.0; its end is certain."),
    (rb"(\r\nheader\d+: .*){100}", "HAProxy takes 101 fields, Hestia 200 (LI-03)."),
    (
        rb"^GET https?://",
        "The authority wins over Host, and origin-form leaves (RT-03).",
    ),
    (rb"^(\r\n)+[A-Z]", "Go takes no empty line in front of a request (RFC 9112 §2.2 asks to)."),
    (rb'^GET /[^ ]*"', "Go escapes quotes; here the path passes byte for byte (RT-15)."),
    (rb"\r\nContent-Length: 00", "A length is written anew, so a leading zero is gone; Go refuses it."),
    (rb"(?i)\r\nUpgrade:", "Offers other than WebSocket are dropped, their bodies are bodies (UP-06)."),
    (
        rb"\n[a-z]*[.|][^\r:]*:",
        "nginx drops fields whose names hold other signs than letters and dashes; here they pass.",
    ),
    (rb"If-Match.*If-Match", "nginx refuses a second line of fields it knows; here both pass (HQ-01)."),
    (rb"(?i)\r\n(Keep-Alive|Proxy-Connection|TE|Trailer|Proxy-Authorization):", "Ends at each hop (HQ-04)."),
]


def _reason(data: bytes) -> str:
    return next((why for pattern, why in REASONS if re.search(pattern, data, re.DOTALL | re.IGNORECASE)), "")


@pytest.mark.parametrize("name", list(PEERS))
async def test_t_se_01_differences_to_other_proxies_have_reasons(
    raw: MakeUpstream, gateway: MakeGateway, tmp_path: Path, name: str
) -> None:
    if why := missing(name):
        pytest.skip(why)
    known = cases()
    upstream = await raw(ANSWERS)
    gw = await gateway(everything(upstream, known))
    ours: list[Seen] = [await through(gw.address, upstream, case.data) for case in known]
    found = []
    async with RawUpstream(ANSWERS) as other, running(name, tmp_path, other.port) as address:
        for case, seen in zip(known, ours, strict=True):
            theirs = await through(address, other, case.data)
            found.append((name, case, kind(case, seen, theirs)))
    print(f"\n{table(found)}")
    unexplained = [
        f"{what}: {case.name} {case.data[:200]!r}"
        for _, case, what in found
        if what not in ("", STRICTER) and not _reason(case.data)
    ]
    assert not unexplained, "\n".join(unexplained)
