"""Which requests become spans, and what that may cost the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hestia.core.requests import RequestRecord, Step
from hestia.telemetry.spans import Span
from hestia.telemetry.traces import AT_ONCE, DUE, LONGEST, Item, Traces
from tests.fakes.facts import eventually
from tests.unit.telemetry.test_access import served
from tests.unit.telemetry.test_lives import Clock, row

WAITED = (Step("queued", 1.0), Step("granted", 2.0), Step("end", 3.0))


class Keeping:
    """A sender that keeps what it gets, in the pieces in which it came."""

    def __init__(self) -> None:
        self.pieces: list[Sequence[Item]] = []
        self.closed = 0

    @property
    def items(self) -> list[Item]:
        return [one for piece in self.pieces for one in piece]

    def put(self, items: Sequence[Item]) -> None:
        self.pieces.append(items)

    def close(self) -> None:
        self.closed += 1


def story(record: RequestRecord) -> Mapping[str, object]:
    return {"end": "answered", "queueMs": 0.0, "parts": []}


def traces(sender: Keeping, sample: float = 1.0) -> Traces:
    return Traces(sender, sample=sample, tell=story, scheme="http", clock=Clock())


async def test_records_of_the_gateway_itself_are_none() -> None:
    sender = Keeping()
    traces(sender).take([served(service=""), served(service="llm")])
    assert [one.service for one in sender.items if isinstance(one, RequestRecord)] == ["llm"]


async def test_sample_is_for_those_that_nobody_asked_for() -> None:
    sender = Keeping()
    asked, failed, plain = served(trace=b"00-x"), served(status=502), served()
    traces(sender, sample=0.0).take([asked, failed, plain])
    assert sender.items == [asked, failed]


async def test_who_waited_is_told_a_few_at_a_time() -> None:
    sender = Keeping()
    one = traces(sender)
    one.take([served(steps=WAITED) for _ in range(3 * AT_ONCE)])
    assert sender.items == []
    await eventually(lambda: len(sender.items) == 3 * AT_ONCE, "all to be told")
    assert all(isinstance(item, Span) and item.is_request for item in sender.items)
    assert [len(piece) for piece in sender.pieces] == [AT_ONCE] * 3
    await one.aclose()


async def test_a_flood_goes_without_its_parts_and_the_end_does_not_wait() -> None:
    sender = Keeping()
    one = traces(sender)
    one.take([served(steps=WAITED) for _ in range(DUE + 5)])
    assert len(sender.items) == 5
    await one.aclose()
    assert len(sender.items) == DUE + 5
    assert all(isinstance(item, RequestRecord) for item in sender.items)
    assert sender.closed == 1


async def test_a_long_path_is_cut() -> None:
    sender = Keeping()
    traces(sender).take([served(target=b"/" + b"a" * 5000 + b"?q=1")])
    (item,) = sender.items
    assert isinstance(item, RequestRecord)
    assert len(item.target) == LONGEST


async def test_a_start_is_handed_on_when_it_is_over() -> None:
    sender = Keeping()
    one = traces(sender)
    one.transition(row("cold", "starting", "StartDecided"))
    one.stage("llm", "main", "engine", "starting", "ep")
    assert sender.items == []
    one.transition(row("starting", "hot", "ProbePassed"))
    assert [item.name for item in sender.items if isinstance(item, Span)] == ["start llm"]
