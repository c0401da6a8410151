"""gunicorn's and llhttp's inputs at the edge and behind it: each has the verdict that is stored for it.

The recording upstream reads with h11: whatever reaches it is what a strict reader understands too.
"""

from __future__ import annotations

import pytest

from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import head
from tests.integration.conftest import MakeClient, MakeUpstream
from tests.integration.harness import MakeGateway

from .cases import Case, groups, load
from .replay import ANSWERS, everything, replayed
from .responses import answered

REQUESTS = [(corpus, group) for corpus in ("gunicorn", "llhttp_requests") for group in groups(corpus)]
FAULTS = ("method/12", "method/13", "method/14")  # see the expected failure below
LONG = 3000  # bytes; longer ones are sent whole only


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("corpus", "group"), REQUESTS)
async def test_t_bf_26_requests_of_other_parsers_tests(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, corpus: str, group: str, *, cut: bool
) -> None:
    """Also SE-13: the smuggling cases are among them."""
    cases = [case for case in load(corpus) if case.group == group and case.name not in FAULTS]
    cases = [case for case in cases if not (cut and len(case.data) > LONG)]
    upstream: RawUpstream = await raw(ANSWERS)
    gw = await gateway(everything(upstream, cases))
    wrong = []
    for case in cases:
        client = await connect(gw)
        found = await replayed(gw, upstream, client, case, cut=cut)
        if found != case:
            wrong.append(_difference(case, found))
        await client.close()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("line", ["GET {} RTSP/1.1", "OPTIONS {} RTSP/1.0", "SOURCE {} ICE/1.0"])
async def test_t_rt_11_other_protocols_are_not_taken_for_http(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, line: str
) -> None:
    upstream = await raw(ANSWERS)
    client = await connect(await gateway(a=upstream))
    await client.send(head(line.format("/services/a/x"), [("Host", "localhost")]))
    assert (await client.response()).status in (400, 505)
    assert upstream.requests == []


@pytest.mark.parametrize("protocol", ["RTSP", "ICE"])
async def test_t_hr_13_other_protocols_are_no_answer(gateway: MakeGateway, protocol: str) -> None:
    data = f"{protocol}/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".encode()
    (found,) = await answered(gateway, [Case("protocol", "invalid", data)])
    assert found.answers == ("502 upstream_invalid_response",)


@pytest.mark.parametrize("octet", [0x00, 0x01, 0x0B, 0x1B, 0x7F])
async def test_hr_05_control_characters_in_a_reason_are_502(gateway: MakeGateway, octet: int) -> None:
    data = b"HTTP/1.1 200 O%cK\r\nContent-Length: 2\r\n\r\nhi" % octet
    (found,) = await answered(gateway, [Case("reason", "invalid", data)])
    assert found.answers == ("502 upstream_invalid_response",)


@pytest.mark.parametrize("group", groups("llhttp_responses"))
async def test_bf_12_answers_of_another_parsers_tests(gateway: MakeGateway, group: str) -> None:
    cases = [case for case in load("llhttp_responses") if case.group == group]
    found = await answered(gateway, cases)
    wrong = [_difference(case, one) for case, one in zip(cases, found, strict=True) if case != one]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("corpus", ["gunicorn", "llhttp_requests", "llhttp_responses"])
def test_every_difference_to_their_origin_has_a_reason(corpus: str) -> None:
    cases = load(corpus)
    assert [case.name for case in cases if case.differs and not case.why] == []
    assert [case.name for case in cases if case.why and not case.differs] == []
    assert len({case.name for case in cases}) == len(cases)


def _difference(expected: Case, found: Case) -> str:
    return (
        f"{expected.name} {expected.data[:120]!r}: expected {expected.answers} upstream {expected.upstream}, "
        f"found {found.answers} upstream {found.upstream}"
    )
