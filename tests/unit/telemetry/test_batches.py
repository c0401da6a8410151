"""Records on their way: every reader sees each once, in order, at the latest after the interval."""

from __future__ import annotations

from hestia.core.requests import RequestRecord
from hestia.telemetry.batches import FULL, Batches
from tests.fakes.facts import eventually
from tests.unit.telemetry.test_access import served


class Keeping:
    """A reader that keeps what it was given, and how often it was told that nothing more comes."""

    def __init__(self) -> None:
        self.seen: list[RequestRecord] = []
        self.flushed = 0

    def take(self, records: list[RequestRecord]) -> None:
        self.seen += records

    def flush(self) -> None:
        self.flushed += 1


async def test_a_full_batch_goes_to_every_reader_at_once() -> None:
    one, other = Keeping(), Keeping()
    batches = Batches(one, other, interval=60.0)
    records = [served(request_id=b"%d" % number) for number in range(FULL)]
    for record in records:
        assert one.seen == []
        batches.record(record)
    assert one.seen == other.seen == records
    assert one.flushed == 0
    batches.close()


async def test_who_looks_sees_what_is_there_and_nothing_twice() -> None:
    reader = Keeping()
    batches = Batches(reader, interval=60.0)
    batches.record(served())
    batches.hand_on()
    batches.hand_on()
    assert len(reader.seen) == 1
    batches.close()
    batches.close()
    assert len(reader.seen) == 1


async def test_the_rest_comes_after_the_interval() -> None:
    reader = Keeping()
    batches = Batches(reader, interval=0.01)
    batches.record(served())
    await eventually(lambda: reader.flushed == 1, "the interval to pass")
    assert len(reader.seen) == 1
    batches.record(served())
    batches.close()
    assert len(reader.seen) == 2
