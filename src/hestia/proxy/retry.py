"""Whether a request is sent once more: the retry matrix as one decision, and the budget of such tries.

Pure: time, chance and counts are arguments. What is done about a verdict is `exchange`'s business.
Source: proxy-semantics RF-01, RF-04; RFC 9110 §9.2.2.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final

from hestia.core.model import ServiceSettings

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})  # RFC 9110 §9.2.2, less TRACE
REFUSED_PAUSE: Final = 0.05  # seconds before a connect that was refused is tried again (CQ-13)
JITTER: Final = 0.25  # part of `retry_delay` by which a pause may be shorter or longer
BUDGET_WINDOW: Final = 10.0  # seconds
BUDGET_SHARE: Final = 0.2  # further attempts per request in the window
BUDGET_LEAST: Final = 3  # further attempts in the window, however few requests came


class Failure(Enum):
    """What became of an attempt, as far as nothing was given to the client yet: the rows of the matrix."""

    UNSENT = "no connection was made, so nothing was sent"
    STALE = "a kept connection broke before the first byte of an answer"
    BROKEN = "a new connection broke before the first byte of an answer"
    SLOW = "the head of the answer did not come in time"
    STATUS = "a status that the service may answer when it should be asked again"
    WARMING = "503 while the service has not answered anything since its start"


class Verdict(Enum):
    """NO: it ends here. FRESH: at once on a new connection, which is no further attempt. AGAIN: another."""

    NO = 0
    FRESH = 1
    AGAIN = 2


def verdict(
    failure: Failure, settings: ServiceSettings, *, method: bytes, keyed: bool, whole: bool, attempts: int
) -> Verdict:
    """The matrix. keyed: the request has an Idempotency-Key. whole: every byte of its body is still here.
    attempts: made so far. How often at all is `may_go_on`'s business."""
    if failure is Failure.UNSENT:
        return Verdict.AGAIN
    if not whole:
        return Verdict.NO
    idempotent = method in IDEMPOTENT
    if failure in (Failure.STALE, Failure.BROKEN):
        if not idempotent and not (keyed and settings.retry_idempotency_key):
            return Verdict.NO
        if failure is Failure.STALE:
            return Verdict.FRESH
        return Verdict.AGAIN if attempts <= 1 else Verdict.NO
    if not idempotent:
        return Verdict.NO
    asked = {
        Failure.SLOW: settings.retry_on_timeout,
        Failure.STATUS: True,  # the caller has looked it up in retry_on_status
        Failure.WARMING: settings.retry_on_warmup,
    }
    return Verdict.AGAIN if asked[failure] else Verdict.NO


def may_follow(settings: ServiceSettings, *, idempotent: bool, attempts: int, has_fallback: bool) -> bool:
    """Whether anything that becomes of a request on a new connection lets it be sent again. idempotent: else
    it has a key. attempts: made so far, that one included. has_fallback: there is one, not asked yet."""
    if attempts <= settings.tries:
        if attempts <= 1:
            return True
        statuses = settings.retry_on_warmup or bool(settings.retry_on_status)
        return idempotent and (statuses or settings.retry_on_timeout)
    return idempotent and has_fallback and bool(settings.retry_on_status)


def status_failure(status: int, settings: ServiceSettings, *, warm: bool) -> Failure | None:
    """The row of an answer with this status; None for one that is simply the answer. warm: the service has
    answered since its start, or its warm-up window is over."""
    if status in settings.retry_on_status:
        return Failure.STATUS
    if status == 503 and not warm and settings.retry_on_warmup:
        return Failure.WARMING
    return None


def pause(settings: ServiceSettings, *, ended: bool, chance: float) -> float:
    """Seconds before the next attempt: `retry_delay`, jittered. chance: 0…1. ended: the service refused, or
    broke off.

    Then it may just have ended: that is told within a short pause, and the next attempt waits for a new
    start instead of knocking at the same closed door.
    """
    jittered = settings.retry_delay * (1.0 - JITTER + 2.0 * JITTER * chance)
    return max(jittered, REFUSED_PAUSE if ended else 0.0)


def may_go_on(settings: ServiceSettings, *, attempts: int, at: float, started: float) -> bool:
    """Whether one more attempt at loop-clock second `at` is within `retry_count` (and one more for each
    further instance) and the request's time."""
    return attempts <= settings.tries and at - started <= settings.wait_limit


class Budget:
    """Further attempts of one service: at most a share of its requests of the last seconds (RF-04). Those
    after a connect that failed are not asked for: they cost a service that is in trouble nothing.

    It counts nothing while nothing is retried: the number of requests is read where it is kept anyway, and
    remembered at each question, so the hot path has no part in it. A window that begins with the first
    question knows no requests yet; until it does, the least holds.
    """

    __slots__ = ("_seen", "_spent")

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()  # (second, requests until then), oldest first
        self._spent: deque[float] = deque()

    def take(self, now: float, requests: int) -> bool:
        """Whether one more attempt may be made now; if so, it is counted. requests: of the service since
        ever, further attempts included; a smaller number than before means that it was counted anew."""
        begin = now - BUDGET_WINDOW
        if self._seen and requests < self._seen[-1][1]:
            self._seen.clear()
        if not self._seen or now - self._seen[-1][0] >= 0.1:  # at most a hundred are kept
            self._seen.append((now, requests))
        while self._seen[0][0] < begin:
            self._seen.popleft()
        while self._spent and self._spent[0] <= begin:
            self._spent.popleft()
        first = requests - self._seen[0][1] - len(self._spent)  # a further attempt is no request of a client
        allowed = max(BUDGET_LEAST, int(first * BUDGET_SHARE))
        if len(self._spent) >= allowed:
            return False
        self._spent.append(now)
        return True
