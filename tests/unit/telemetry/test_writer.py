"""The writer thread: order, bound, and that its caller is never held."""

from __future__ import annotations

from hestia.telemetry.writer import LineWriter
from tests.fakes.streams import BrokenStream, KeepingStream, StuckStream


def test_blocks_are_written_in_order_and_close_waits_for_them() -> None:
    stream = KeepingStream()
    writer = LineWriter(stream)
    for number in range(1000):
        writer.write(b"%d\n" % number)
    writer.close()
    assert stream.text.split() == [str(number) for number in range(1000)]
    assert writer.dropped == 0


def test_slow_reader_does_not_hold_the_caller_and_lost_lines_are_told() -> None:
    stream = StuckStream()
    writer = LineWriter(stream, limit=10, notice=lambda count: b"lost %d\n" % count)
    writer.write(b"first\n")
    assert stream.entered.wait(10)
    writer.write(b"second\n")
    writer.write(b"third\nfourth\n")  # no room left: 7 bytes wait already
    assert writer.dropped == 2
    stream.release.set()
    writer.close()
    assert stream.text == "first\nsecond\nlost 2\n"


def test_close_gives_up_on_a_reader_that_never_reads() -> None:
    stream = StuckStream()
    writer = LineWriter(stream)
    writer.write(b"line\n")
    assert stream.entered.wait(10)
    writer.close(timeout=0.01)
    assert stream.blocks == []
    stream.release.set()
    writer.close()


def test_closed_pipe_ends_the_writing_quietly() -> None:
    stream = BrokenStream()
    writer = LineWriter(stream)
    writer.write(b"one\n")
    writer.close()
    writer.write(b"two\n")
    writer.close()
    assert stream.blocks == [b"one\n"]
    assert writer.dropped == 1
