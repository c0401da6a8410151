"""One window of `keep_warm`: days, from, to and time zone as they are written, and what they become."""

from __future__ import annotations

import re
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hestia.config.errors import nearest, one_of
from hestia.core.calendar import MIDNIGHT, Window

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIME: Final = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")


def _day(text: str) -> str:
    word = text.strip().lower()
    if word in _LONG:
        return DAYS[_LONG.index(word)]
    if word not in DAYS:
        raise ValueError(f"{text!r} is no day; write {one_of(DAYS)}")
    return word


def _time(text: str) -> str:
    match = _TIME.fullmatch(text.strip())
    if match is None or _minutes(text) > MIDNIGHT:
        raise ValueError(f"{text!r} is no time of day; write hours and minutes such as 08:00, up to 24:00")
    return text.strip()


def _zone(text: str) -> str:
    if not text:
        return text
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = available_timezones()
        if not known:
            raise ValueError(
                f"the time zone {text!r} cannot be read: this machine has none; install tzdata"
            ) from None
        near = nearest(text, sorted(known))
        instead = f"did you mean {near!r}?" if near else "write a name such as Europe/Berlin"
        raise ValueError(f"there is no time zone {text!r}; {instead}") from None
    return text


class KeepWarmKeys(BaseModel):
    """One window of `keep_warm`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    days: Annotated[list[Annotated[str, AfterValidator(_day)]], Field(min_length=1)] = Field(
        default=list(DAYS), description="Days on which it begins: mon, tue, wed, thu, fri, sat, sun."
    )
    begins: Annotated[str, AfterValidator(_time)] = Field(
        alias="from", description="Time at which the service is to be hot: 08:00."
    )
    ends: Annotated[str, AfterValidator(_time)] = Field(
        alias="to",
        description="Time at which the usual idleness goes on; not later than `from`: the next day.",
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        default="", description="Time zone of both, such as Europe/Berlin; that of this machine unless given."
    )

    @model_validator(mode="after")
    def _lasts(self) -> KeepWarmKeys:
        if _minutes(self.begins) % MIDNIGHT == _minutes(self.ends) % MIDNIGHT and not (
            _minutes(self.begins) == 0 and _minutes(self.ends) == MIDNIGHT
        ):
            raise ValueError(
                f"from and to are both {self.begins}; for whole days write from: 00:00 and to: 24:00"
            )
        return self

    def made(self) -> Window:
        return Window(
            days=tuple(sorted({DAYS.index(day) for day in self.days})),
            begins=_minutes(self.begins) % MIDNIGHT,
            ends=_minutes(self.ends),
            zone=ZoneInfo(self.timezone) if self.timezone else None,
            zone_name=self.timezone,
        )


def written(window: Window) -> dict[str, object]:
    """The window as it would stand in the file."""
    named: dict[str, object] = {
        "days": [DAYS[day] for day in window.days],
        "from": _text(window.begins),
        "to": _text(window.ends),
    }
    return named | ({"timezone": window.zone_name} if window.zone_name else {})


def _minutes(text: str) -> int:
    hours, _, minutes = text.strip().partition(":")
    return int(hours) * 60 + int(minutes)


def _text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
