"""The retry matrix row by row, the pause, the budget (RF-01, RF-04)."""

from __future__ import annotations

from typing import Any

import pytest

from hestia.core.model import ServiceId, ServiceSettings
from hestia.proxy.retry import (
    BUDGET_LEAST,
    BUDGET_WINDOW,
    IDEMPOTENT,
    Budget,
    Failure,
    Verdict,
    may_follow,
    may_go_on,
    pause,
    status_failure,
    verdict,
)

UNSAFE = (b"POST", b"PATCH", b"TRACE", b"PROPFIND", b"MKCOL")
ON_BREAK = (Failure.STALE, Failure.BROKEN)
ASKED = {Failure.SLOW: "retry_on_timeout", Failure.WARMING: "retry_on_warmup"}


def settings(**more: Any) -> ServiceSettings:  # Any: fields of ServiceSettings
    return ServiceSettings(id=ServiceId("a"), instances=(), **more)


def asked(failure: Failure, method: bytes, **more: Any) -> Verdict:  # Any: arguments of either
    given: dict[str, Any] = {"keyed": False, "whole": True, "attempts": 1}
    given.update({name: more.pop(name) for name in list(more) if name in given})
    return verdict(failure, settings(**more), method=method, **given)


@pytest.mark.parametrize("method", [*sorted(IDEMPOTENT), *UNSAFE])
@pytest.mark.parametrize("whole", [True, False])
def test_rf_01_what_was_never_sent_may_be_sent_by_any_method_with_any_body(
    method: bytes, whole: bool
) -> None:
    assert asked(Failure.UNSENT, method, whole=whole, attempts=7) is Verdict.AGAIN


@pytest.mark.parametrize("method", sorted(IDEMPOTENT))
def test_rf_01_an_idempotent_request_survives_a_connection_that_breaks_once(method: bytes) -> None:
    assert asked(Failure.STALE, method) is Verdict.FRESH
    assert asked(Failure.BROKEN, method) is Verdict.AGAIN
    assert asked(Failure.BROKEN, method, attempts=2) is Verdict.NO


@pytest.mark.parametrize("method", UNSAFE)
@pytest.mark.parametrize("failure", ON_BREAK)
def test_t_rf_15_other_methods_need_a_key_and_a_service_that_knows_it(
    failure: Failure, method: bytes
) -> None:
    assert asked(failure, method) is Verdict.NO
    assert asked(failure, method, keyed=True) is Verdict.NO
    assert asked(failure, method, retry_idempotency_key=True) is Verdict.NO
    assert asked(failure, method, keyed=True, retry_idempotency_key=True) is not Verdict.NO


@pytest.mark.parametrize("failure", ASKED)
def test_rf_01_slow_heads_and_warming_up_are_asked_again_only_where_configured(failure: Failure) -> None:
    assert asked(failure, b"GET") is Verdict.NO
    assert asked(failure, b"GET", **{ASKED[failure]: True}) is Verdict.AGAIN
    assert asked(failure, b"GET", attempts=3, **{ASKED[failure]: True}) is Verdict.AGAIN


@pytest.mark.parametrize("failure", [Failure.SLOW, Failure.STATUS, Failure.WARMING])
def test_rf_01_an_answer_or_none_in_time_never_repeats_a_post(failure: Failure) -> None:
    everything = {
        "retry_on_timeout": True,
        "retry_on_warmup": True,
        "retry_idempotency_key": True,
        "retry_on_status": (503,),
    }
    for method in UNSAFE:
        assert asked(failure, method, keyed=True, **everything) is Verdict.NO
    assert asked(failure, b"PUT", **everything) is Verdict.AGAIN


@pytest.mark.parametrize("failure", [one for one in Failure if one is not Failure.UNSENT])
def test_rf_03_a_body_that_is_not_here_any_more_is_not_sent_again(failure: Failure) -> None:
    assert asked(failure, b"PUT", whole=False, retry_on_timeout=True, retry_on_warmup=True) is Verdict.NO


def test_rf_01_which_status_counts_as_a_failure() -> None:
    assert status_failure(503, settings(), warm=True) is None
    assert status_failure(503, settings(), warm=False) is None
    assert status_failure(404, settings(retry_on_status=(503,)), warm=True) is None
    assert status_failure(503, settings(retry_on_status=(503,)), warm=True) is Failure.STATUS
    assert status_failure(503, settings(retry_on_warmup=True), warm=False) is Failure.WARMING
    assert status_failure(503, settings(retry_on_warmup=True), warm=True) is None
    assert status_failure(500, settings(retry_on_warmup=True), warm=False) is None


def test_t_rf_14_a_pause_is_jittered_by_a_quarter() -> None:
    one = settings(retry_delay=2.0)
    assert [pause(one, ended=False, chance=chance) for chance in (0.0, 0.5, 1.0)] == [1.5, 2.0, 2.5]
    assert pause(settings(), ended=False, chance=1.0) == 0.0
    assert pause(settings(), ended=True, chance=0.5) > 0.0


def test_t_rf_14_count_and_deadline_of_a_request_end_it() -> None:
    one = settings(retry_count=2, request_timeout=10.0)
    assert may_go_on(one, attempts=2, at=105.0, started=100.0)
    assert not may_go_on(one, attempts=3, at=105.0, started=100.0)
    assert may_go_on(one, attempts=1, at=110.0, started=100.0)
    assert not may_go_on(one, attempts=1, at=110.1, started=100.0)


def test_rf_04_a_quiet_service_has_the_least_of_a_budget() -> None:
    budget = Budget()
    took = [budget.take(100.0 + number / 100, requests=number) for number in range(1, 8)]
    assert took == [True] * BUDGET_LEAST + [False] * (7 - BUDGET_LEAST)
    assert budget.take(100.0 + BUDGET_WINDOW + 0.05, requests=8)


@pytest.mark.parametrize("rate", [20, 200, 2000])
def test_t_rf_12_a_service_that_fails_always_gets_a_fifth_more_at_most(rate: int) -> None:
    """Every request fails and asks for a further attempt, which fails and asks again."""
    budget, further, seconds = Budget(), 0, 30
    for number in range(rate * seconds):
        further += budget.take(1000.0 + number / rate, requests=number + further)
    per_window = further / seconds * BUDGET_WINDOW
    sent = rate * BUDGET_WINDOW
    assert per_window <= max(BUDGET_LEAST, 0.2 * sent) + 1
    assert per_window >= 0.15 * sent


def test_rf_04_after_a_long_silence_old_requests_buy_nothing() -> None:
    budget = Budget()
    assert budget.take(0.0, requests=0)
    took = sum(budget.take(3600.0, requests=100_000) for _ in range(10))
    assert took == BUDGET_LEAST


def test_rf_04_a_new_generation_counts_from_zero() -> None:
    budget = Budget()
    assert budget.take(0.0, requests=1000)
    assert budget.take(1.0, requests=3)
    assert budget.take(2.0, requests=5)
    assert not budget.take(3.0, requests=6)


@pytest.mark.parametrize("failure", [Failure.BROKEN, Failure.SLOW, Failure.STATUS, Failure.WARMING])
@pytest.mark.parametrize("method", [b"PUT", b"POST"])
@pytest.mark.parametrize("attempts", [1, 2, 3])
@pytest.mark.parametrize("has_fallback", [False, True])
@pytest.mark.parametrize(
    "more", [{}, {"retry_on_timeout": True}, {"retry_on_warmup": True}, {"retry_on_status": (503,)}]
)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_rf_03_a_body_is_kept_wherever_an_attempt_may_follow(
    failure: Failure, method: bytes, attempts: int, has_fallback: bool, more: dict[str, Any], count: int
) -> None:
    """A keyed POST here; what `verdict` and `may_go_on` let pass, `may_follow` has foreseen."""
    made = settings(retry_count=count, retry_idempotency_key=True, **more)
    kept = may_follow(made, idempotent=method in IDEMPOTENT, attempts=attempts, has_fallback=has_fallback)
    status = 503 if failure in (Failure.STATUS, Failure.WARMING) else 0
    if status and status_failure(status, made, warm=failure is Failure.STATUS) is not failure:
        return
    told = verdict(failure, made, method=method, keyed=True, whole=True, attempts=attempts)
    goes_on = may_go_on(made, attempts=attempts, at=0.0, started=0.0)
    if told is Verdict.AGAIN and (goes_on or (has_fallback and failure is Failure.STATUS)):
        assert kept


def test_rf_03_no_body_is_kept_where_none_may_follow() -> None:
    last = settings(retry_on_status=(503,), retry_on_timeout=True)
    assert not may_follow(last, idempotent=True, attempts=2, has_fallback=False)
    assert may_follow(last, idempotent=True, attempts=2, has_fallback=True)
    assert not may_follow(settings(retry_count=3), idempotent=True, attempts=2, has_fallback=True)
    assert not may_follow(settings(retry_count=0), idempotent=True, attempts=1, has_fallback=True)
