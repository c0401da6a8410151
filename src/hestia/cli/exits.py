"""Exit codes (CL-03) and the one exception with which a command ends otherwise than well.

Owns the codes, their meaning in words, and which problem of the gateway leads to which code.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

Document = Mapping[str, Any]  # a JSON document as the gateway sent it; its schema is OpenAPI's, hence Any


class ExitCode(IntEnum):
    """What `hestia` ends with, the same on a terminal and in a pipe."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    NOT_FOUND = 5
    TIME_OVER = 6
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANING: Final[Mapping[ExitCode, str]] = {
    ExitCode.DONE: "done, or already so",
    ExitCode.FAILED: "the thing asked for failed: a start, a check",
    ExitCode.USAGE: "wrong usage of the command line",
    ExitCode.UNREACHABLE: "the gateway, or Semaphore, cannot be reached",
    ExitCode.REFUSED: "access refused (401, 403)",
    ExitCode.NOT_FOUND: "no such service, request or key",
    ExitCode.TIME_OVER: "the time of --timeout is over; what was begun goes on",
    ExitCode.INTERRUPTED: "Ctrl-C",
    ExitCode.PIPE_CLOSED: "the reader closed the pipe (as in `| head`)",
}


class CliError(Exception):
    """Ends the command with `exit_code` and a text on stderr, or with `--json` a problem on stdout.

    detail: what happened, where, why; the first line stands alone. remedy: lines that can be typed.
    problem: the gateway's own document, printed as it is with `--json`.
    """

    def __init__(
        self,
        detail: str,
        *,
        exit_code: ExitCode = ExitCode.FAILED,
        code: str = "failed",
        remedy: tuple[str, ...] = (),
        problem: Document | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.exit_code = exit_code
        self.code = code
        self.remedy = remedy
        self.problem = problem

    def document(self) -> Document:
        """The error as problem JSON; the gateway's own where there is one."""
        if self.problem is not None:
            return self.problem
        own: dict[str, object] = {
            "type": f"urn:hestia:error:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "detail": " ".join([self.detail, *self.remedy]),
            "code": self.code,
        }
        return {**own, "error": own["detail"]}


class Quiet(CliError):
    """Ends the command with an exit code and says nothing: the code is the answer."""

    def __init__(self, exit_code: ExitCode) -> None:
        super().__init__("", exit_code=exit_code)


class PipeClosed(Exception):
    """Whoever read our stdout went away (CL-08). No OSError: click would make that exit code 1."""


class Interrupted(CliError):
    """Ctrl-C while following: the following ends, what was followed goes on (CL-07)."""

    def __init__(self, detail: str, *remedy: str) -> None:
        super().__init__(detail, exit_code=ExitCode.INTERRUPTED, code="interrupted", remedy=remedy)


def exit_code_of(status: int, code: str) -> ExitCode:
    """The exit code for a problem with this HTTP status and error code."""
    if status in (401, 403):
        return ExitCode.REFUSED
    if code in ("service_not_found", "instance_not_found", "machine_not_found") or status == 404:
        return ExitCode.NOT_FOUND
    return ExitCode.FAILED
