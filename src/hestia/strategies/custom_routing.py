"""`custom_routing`: ordered rules over what a request says; the first that matches names the instances.

A rule may share its requests between instances by percentages, as for a trial of a new version: whoever got
one keeps it, by a header, a cookie or the client's address.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from hestia.core.model import InstanceId, InstanceSettings
from hestia.core.strategy import Asked, Candidate, Ejection, Ranking, Reads, Unfit
from hestia.strategies.load_balancer import LoadBalancer, LoadBalancerOptions
from hestia.strategies.model_router import Targets
from hestia.strategies.naming import instance_of
from hestia.strategies.options import PEEK, Bytes, Name, Options, Text

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME: Final = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")
_STEPS: Final = 10_000  # of a percentage: hundredths
_BY: Final = re.compile(r"client|(?:header|cookie):[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Check = Callable[[Asked], bool]


def _time(text: str) -> str:
    match = _TIME.fullmatch(text.strip())
    if match is None or _minutes(text) > 24 * 60:
        raise ValueError(f"{text!r} is no time of day; write hours and minutes such as 08:00, up to 24:00")
    return text.strip()


def _minutes(text: str) -> int:
    hours, _, minutes = text.strip().partition(":")
    return int(hours) * 60 + int(minutes)


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {text!r}; write a name such as Europe/Berlin") from None
    return text


def _by(text: str) -> str:
    if not _BY.fullmatch(text):
        raise ValueError(f"{text!r} is none of client, header:NAME, cookie:NAME")
    return text


Time = Annotated[str, AfterValidator(_time)]


class WhenOptions(Options):
    """When a rule holds. From the one time up to the other; over midnight where `from` is the later one."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        default=_DAYS, min_length=1, description="Days on which it begins."
    )
    begins: Time = Field(default="00:00", alias="from", description="Beginning: 08:00.")
    ends: Time = Field(default="24:00", alias="to", description="End: 18:00.")
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="Time zone of both: Europe/Berlin."
    )


class RuleOptions(Options):
    """One rule. All conditions that are given must hold; without any it holds always."""

    name: Text = Field(default="", description="Shown by `explain`; its place without one.")
    method: Text = Field(default="", description="Glob for the method.")
    path: Text = Field(default="", description="Glob for the path within the service: /v1/*.")
    headers: Mapping[Name, Text] = Field(
        default_factory=dict, description="Globs for headers; a missing header matches none."
    )
    query: Mapping[Text, Text] = Field(default_factory=dict, description="Globs for values of the query.")
    key: Text = Field(default="", description="Glob for the value that `key` of `routing` names.")
    when: WhenOptions | None = Field(default=None, description="When it holds.")
    to: Targets = Field(
        default=(), validate_default=False, description="Addresses or names of instances, best first."
    )
    split: Mapping[Text, Annotated[float, Field(ge=0, le=100)]] = Field(
        default_factory=dict, description="Instead of `to`: instance to percent of the requests; 100 in all."
    )
    split_by: Annotated[str, AfterValidator(_by)] = Field(
        default="client", description="Who keeps an instance: client (address), header:NAME or cookie:NAME."
    )

    @model_validator(mode="after")
    def _goes_somewhere(self) -> RuleOptions:
        if bool(self.to) == bool(self.split):
            raise ValueError("a rule names either `to` or `split`")
        if self.split and abs(sum(self.split.values()) - 100) > 0.01:
            raise ValueError(f"its percentages add up to {sum(self.split.values()):g}, not to 100")
        return self


class CustomRoutingOptions(LoadBalancerOptions):
    """`routing` of a service with the strategy `custom_routing`; also the keys of `load_balancer`, which
    chooses where no rule matches."""

    rules: tuple[RuleOptions, ...] = Field(
        min_length=1,
        description="The first one that matches decides.",
        examples=[[{"path": "/v2/*", "to": "new"}]],
    )
    key: Text = Field(
        default="",
        description="A key of the query, of the JSON body or of a form, for the `key` of rules. Without it "
        "no body is looked at.",
    )
    peek_max: Bytes = PEEK


class _Rule:
    """One rule, compiled."""

    def __init__(self, options: RuleOptions, at: int, instances: Sequence[InstanceSettings]) -> None:
        self.why: Final = f"rule {options.name or at + 1}"
        self._checks = _checks(options)
        many = len(options.to) > 1
        self.ids = tuple(
            instance_of(text, instances, ("rules", at, "to", place) if many else ("rules", at, "to"))
            for place, text in enumerate(options.to)
        )
        self.shares: list[tuple[float, InstanceId]] = []  # upper bound in hundredths, instance
        bound = 0.0
        for text, percent in options.split.items():
            bound += percent * 100
            self.shares.append((bound, instance_of(text, instances, ("rules", at, "split", text))))
        kind, _, name = options.split_by.partition(":")
        self._kind, self._name = kind, name
        self._salt = options.name or ",".join(options.split)

    def matches(self, asked: Asked) -> bool:
        return all(check(asked) for check in self._checks)

    def targets(self, asked: Asked) -> tuple[InstanceId, ...]:
        """The instances of this request; of a split the client's own, then the others."""
        if self.ids:
            return self.ids
        who = self._who(asked)
        digest = hashlib.blake2b(f"{self._salt}\0{who}".encode("utf-8", "replace"), digest_size=8).digest()
        place = int.from_bytes(digest) % _STEPS
        own = next((name for bound, name in self.shares if place < bound), self.shares[-1][1])
        return (own, *[name for _, name in self.shares if name != own])

    def _who(self, asked: Asked) -> str:
        if self._kind == "header":
            return asked.header(self._name) or asked.client
        if self._kind == "cookie":
            return asked.cookie(self._name) or asked.client
        return asked.client


class CustomRouting:
    """The strategy of one service."""

    name: ClassVar[str] = "custom_routing"
    version: ClassVar[str] = "1.0.0"
    features: ClassVar[tuple[str, ...]] = (
        "header_rules",
        "path_rules",
        "key_rules",
        "time_windows",
        "percentages",
        "load_balancer_fallback",
    )
    Options: ClassVar[type[CustomRoutingOptions]] = CustomRoutingOptions

    def __init__(self, options: CustomRoutingOptions, instances: Sequence[InstanceSettings]) -> None:
        self._balance = LoadBalancer(options, instances)
        self._rules = [_Rule(rule, at, instances) for at, rule in enumerate(options.rules)]
        for at, rule in enumerate(options.rules):
            if rule.key and not options.key:
                raise Unfit(
                    "looks at a key, and `routing.key` does not say which",
                    way=("rules", at, "key"),
                    remedy="write routing.key: model",
                )
        self.reads: Reads | None = Reads(options.key, options.peek_max) if options.key else None
        self.ejection: Ejection | None = self._balance.ejection

    def rank(self, asked: Asked, candidates: Sequence[Candidate]) -> Ranking:
        """By the first rule that matches; then, and where none does, by the load balancer."""
        for rule in self._rules:
            if rule.matches(asked):
                own = rule.targets(asked)
                others = [one.id for one in candidates if one.id not in own]
                if out := [one.id for one in candidates if one.doubtful]:
                    last = [one.id for one in candidates if one.is_last]
                    own = tuple(sorted(own, key=lambda name: name in out))
                    others.sort(key=lambda name: (name in last, name in out))
                count = 1 if rule.shares else len(own)  # of a split nobody gets the others' share
                return Ranking(own[:count], (*own[count:], *others), rule.why)
        return self._balance.among(asked, candidates, "no rule matches, ")


def _checks(options: RuleOptions) -> list[Check]:
    """The conditions of a rule, each on its own."""
    checks: list[Check] = []
    if options.method:
        method = _glob(options.method.upper())
        checks.append(lambda asked: method.match(asked.method) is not None)
    if options.path:
        path = _glob(options.path)
        checks.append(lambda asked: path.match(asked.path) is not None)
    for name, text in options.headers.items():
        checks.append(_value_is(lambda asked, name=name: asked.header(name), text))  # type: ignore[misc]  # a default binds it
    for name, text in options.query.items():
        checks.append(_value_is(lambda asked, name=name: asked.query(name), text))  # type: ignore[misc]  # as above
    if options.key:
        checks.append(_value_is(lambda asked: asked.key, options.key))
    if options.when is not None:
        checks.append(_within(options.when))
    return checks


def _value_is(read: Callable[[Asked], str | None], text: str) -> Check:
    glob = _glob(text)

    def check(asked: Asked) -> bool:
        value = read(asked)
        return value is not None and glob.match(value) is not None

    return check


def _within(when: WhenOptions) -> Check:
    zone, begin, end = ZoneInfo(when.timezone), _minutes(when.begins), _minutes(when.ends)
    days = frozenset(_DAYS.index(day) for day in when.days)

    def check(asked: Asked) -> bool:
        now = datetime.fromtimestamp(asked.at, zone)
        minute, day = now.hour * 60 + now.minute, now.weekday()
        if begin < end:
            return day in days and begin <= minute < end
        return (day in days and minute >= begin) or ((day - 1) % 7 in days and minute < end)

    return check


def _glob(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text))
