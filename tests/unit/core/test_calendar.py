"""Windows of the week in their time zones: the calendar of `keep_warm`, without a clock (ID-16)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from hestia.core.calendar import MIDNIGHT, Window, look

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
EVERY_DAY = tuple(range(7))


def at(text: str, zone: ZoneInfo = BERLIN, *, fold: int = 0) -> float:
    """Wall-clock seconds of `2026-03-29 02:30` in a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def window(
    begins: str, ends: str, *, days: tuple[int, ...] = EVERY_DAY, zone: ZoneInfo | None = BERLIN
) -> Window:
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (begins, ends))
    return Window(days, first, last, zone)


WORK = window("08:00", "18:00", days=(0, 1, 2, 3, 4))
NIGHT = window("22:00", "02:00", days=(4, 5))


@pytest.mark.parametrize(
    ("windows", "now", "warm", "until"),
    [
        ((WORK,), "2026-11-24 07:59", False, "2026-11-24 08:00"),  # a Tuesday
        ((WORK,), "2026-11-24 08:00", True, "2026-11-24 18:00"),
        ((WORK,), "2026-11-24 18:00", False, "2026-11-25 08:00"),
        ((WORK,), "2026-11-27 19:00", False, "2026-11-30 08:00"),  # over the weekend
        ((NIGHT,), "2026-11-28 01:59", True, "2026-11-28 02:00"),  # the night of Friday
        ((NIGHT,), "2026-11-29 01:00", True, "2026-11-29 02:00"),
        ((NIGHT,), "2026-11-27 01:00", False, "2026-11-27 22:00"),  # that of Thursday is none
        ((NIGHT,), "2026-11-30 01:00", False, "2026-12-04 22:00"),
        ((WORK, window("17:00", "20:00")), "2026-11-24 17:30", True, "2026-11-24 20:00"),  # overlap
        ((WORK, window("18:00", "19:00")), "2026-11-24 12:00", True, "2026-11-24 19:00"),  # meet
        ((window("09:00", "10:00", days=(1,)),), "2026-11-24 10:00", False, "2026-12-01 09:00"),  # a week
        ((window("12:00", "12:00"),), "2026-11-24 03:00", True, None),  # 24 h from noon to noon
    ],
)
def test_id16_now_and_the_next_change(
    windows: tuple[Window, ...], now: str, warm: bool, until: str | None
) -> None:
    looked = look(windows, at(now), lead=0.0)
    assert looked.warm is warm
    if until is not None:
        assert looked.until == at(until)


def test_id16_without_windows_nothing_ever_changes() -> None:
    looked = look((), at("2026-11-24 12:00"), lead=0.0)
    assert (looked.warm, looked.until) == (False, None)


def test_id16_whole_days_are_always_and_looked_at_again_after_days() -> None:
    now = at("2026-11-24 12:00")
    looked = look((window("00:00", "24:00"),), now, lead=0.0)
    assert looked.warm
    assert looked.until is not None
    assert looked.until - now > 6 * 86400
    assert MIDNIGHT == 24 * 60


def test_id16_a_start_begins_so_early_that_it_is_hot_in_time() -> None:
    before, after = at("2026-11-24 07:54"), at("2026-11-24 07:56")
    assert look((WORK,), before, lead=300.0).until == at("2026-11-24 07:55")
    assert look((WORK,), after, lead=300.0).warm


def test_id16_the_day_on_which_an_hour_is_skipped() -> None:
    """In Berlin 02:00 is 03:00 on 2026-03-29: a window over it is an hour shorter, one within it shifts."""
    over = look((window("01:00", "05:00"),), at("2026-03-29 01:00"), lead=0.0)
    assert over.until == at("2026-03-29 01:00") + 3 * 3600
    within = look((window("02:15", "02:45"),), at("2026-03-29 01:30"), lead=0.0)
    assert within.until == at("2026-03-29 03:15")
    assert look((window("02:15", "02:45"),), at("2026-03-29 03:20"), lead=0.0).until == at("2026-03-29 03:45")


def test_id16_the_day_on_which_an_hour_comes_twice() -> None:
    """In Berlin 03:00 is 02:00 again on 2026-10-25: begun the first time, ended the second."""
    over = look((window("01:00", "05:00"),), at("2026-10-25 01:00"), lead=0.0)
    assert over.until == at("2026-10-25 01:00") + 5 * 3600
    twice = window("02:15", "02:45")
    assert look((twice,), at("2026-10-25 02:00"), lead=0.0).until == at("2026-10-25 02:15")
    first = look((twice,), at("2026-10-25 02:20"), lead=0.0)
    assert first.warm
    assert first.until == at("2026-10-25 02:45", fold=1)
    assert look((twice,), at("2026-10-25 02:30", fold=1), lead=0.0).warm


def test_id16_each_window_has_its_own_zone() -> None:
    both = (window("09:00", "10:00"), window("09:00", "10:00", zone=NEW_YORK))
    assert look(both, at("2026-11-24 09:30"), lead=0.0).warm
    assert look(both, at("2026-11-24 09:30", NEW_YORK), lead=0.0).warm
    assert not look(both, at("2026-11-24 12:00"), lead=0.0).warm


def test_id16_without_a_zone_the_times_are_those_of_this_machine() -> None:
    noon = datetime(2026, 11, 24, 12, 0).timestamp()
    looked = look((window("11:00", "13:00", zone=None),), noon, lead=0.0)
    assert looked.warm
    assert looked.until == datetime(2026, 11, 24, 13, 0).timestamp()
