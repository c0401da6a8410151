"""Follow a start, stop or restart to its end by looking at the service's status.

Owns what the end is and what it means; `progress` shows the way there. The gateway has no event stream
yet, so the status is asked a few times a second: one small call on this machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final

from hestia.cli import progress, view
from hestia.cli.client import Client
from hestia.cli.exits import CliError, Document, ExitCode, Interrupted
from hestia.cli.session import Session
from hestia.cli.text import duration, plain

LOOK_EVERY: Final = 0.2
COLD_AT_FIRST: Final = 2.0  # a start shows as cold until the gateway has taken it up

Verdict = Callable[[Document], bool]  # whether this status is the end; raises CliError for a bad end


def follow(
    session: Session, client: Client, service: str, over: Verdict, *, limit: float | None, verb: str
) -> Document:
    """Look until it is over; the last status. Raises CliError: bad end, TIME_OVER; Interrupted."""
    began = time.monotonic()
    shown = progress.choose(session, f"Ctrl-C stops watching, not the {verb}.", starts=verb != "stop")
    try:
        while True:
            status: Document = json.loads(client.status(service))
            elapsed = time.monotonic() - began
            shown.show(status, elapsed)
            if over(status):
                return status
            if limit is not None and elapsed >= limit:
                raise CliError(
                    f'The {verb} of "{service}" is not over after {duration(limit)} (--timeout); it goes on.',
                    exit_code=ExitCode.TIME_OVER,
                    code="time_over",
                    remedy=(f"Look again: hestia status {service}",),
                )
            time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        shown.close()
        raise Interrupted(
            f'Stopped watching; the {verb} of "{service}" goes on.', f"Undo it: {_undo(verb, service)}"
        ) from None
    finally:
        shown.close()


def _undo(verb: str, service: str) -> str:
    return f"hestia start {service}" if verb == "stop" else f"hestia stop {service}"


def hot(before: Document | None = None) -> Verdict:
    """The end of a start. before: status ahead of a restart; being hot as then does not count.

    A start that failed is stopped before it is failed, so being stopped says nothing yet; what comes
    behind it does.
    """
    began = time.monotonic()
    old = _generation(before) if before is not None else -1
    started = [False]
    stopped = [False]

    def over(status: Document) -> bool:
        phase = view.phase_of(status)
        if phase in ("hot", "suspect"):
            return _generation(status) > old
        started[0] = started[0] or phase == "starting"
        stopped[0] = started[0] and (stopped[0] or phase in ("draining", "stopping"))
        if phase == "cold" and stopped[0]:
            raise CliError(
                f'"{status.get("serviceId")}" was stopped by somebody else during its start.',
                code="service_start_failed",
            )
        if phase in ("failed", "cold") and (started[0] or time.monotonic() - began > COLD_AT_FIRST):
            raise failure(status)
        return False

    return over


def cold(status: Document) -> bool:
    """The end of a stop."""
    return view.phase_of(status) in ("cold", "failed")


def stuck(status: Document) -> bool:
    """Whether a stop ended with something that may still run: no time ends that, so none is told."""
    return any(
        view.phase_of(one) == "failed" and one.get("unused") and one.get("retryAt") is None
        for one in view.instances(status)
    )


def _generation(status: Document) -> int:
    return max((int(one.get("generation", 0)) for one in view.instances(status)), default=0)


def failure(status: Document) -> CliError:
    """The error for a start that did not end hot: the gateway's own words, output and remedy."""
    service = plain(str(status.get("serviceId", "")))
    error = status.get("lastError")
    if not isinstance(error, dict):
        return CliError(
            f'"{service}" did not become hot and the gateway gives no reason.',
            code="service_start_failed",
            remedy=(f"See what it said: hestia logs {service}",),
        )
    code = str(error.get("code", "service_start_failed"))
    lines = [str(error.get("detail", "")), *(f"  | {line}" for line in error.get("tail") or ())]
    remedy = (f"do: {error.get('remedy') or f'hestia logs {service}'}",)
    detail = " ".join(part for part in (str(error.get("detail", "")), str(error.get("remedy", ""))) if part)
    problem = {
        "type": f"urn:hestia:error:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": 503,
        "detail": detail,
        "code": code,
        "error": detail,
        "serviceId": status.get("serviceId"),
        "cause": error.get("cause"),
        "stage": error.get("stage"),
        "help": f"/help/errors/{code}",
    }
    kept = {name: value for name, value in problem.items() if value}
    return CliError("\n".join(lines), code=code, remedy=remedy, problem=kept)
