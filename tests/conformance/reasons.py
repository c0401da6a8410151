"""Why our verdict on an input is another one than its origin's: the rules, first match wins."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from .cases import Case

_CLOSED: Final = re.compile(rb"(?i)connection:[ \t]*close|HTTP/1\.0\r\n")

Rule = tuple[Callable[[Case], bool], str]


def _answered(code: str) -> Callable[[Case], bool]:
    return lambda case: any(code in one for one in case.answers)


def _holds(pattern: bytes, code: str = "") -> Callable[[Case], bool]:
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)
    return lambda case: (
        bool(compiled.search(case.data)) and _answered(code)(case)
        if code
        else bool(compiled.search(case.data))
    )


def _taken(pattern: bytes) -> Callable[[Case], bool]:
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)
    return lambda case: not case.refused and bool(case.answers) and bool(compiled.search(case.data))


REQUESTS: Final[list[Rule]] = [
    (lambda case: not case.answers, "The message is not complete; its rest is waited for (TO-02, TO-03)."),
    (
        lambda case: not case.refused and case.ends and bool(_CLOSED.search(case.data)),
        "It was the last request of the connection; what follows is never parsed (SE-01).",
    ),
    (_answered("unsupported_coding"), "A coding in front of chunked is read by nobody here (BF-03)."),
    (_answered("method_not_allowed"), "CONNECT and TRACE are not offered (RT-06, RT-07)."),
    (_answered("http_version_not_supported"), "Only HTTP/1.0 and 1.1 are spoken (RT-01)."),
    (_answered("404"), "Without Host or to our own address: the gateway has no such page (HO-06)."),
    (_answered("400 bad_host"), "HTTP/1.1 needs one Host that is a host name (HO-02)."),
    (_answered("400 to HEAD"), "HTTP/1.1 needs one Host that is a host name (HO-02)."),
    (_holds(rb"^[A-Z]+ \S*#", "400 bad_"), "A fragment in the target is refused (RT-12)."),
    (_holds(rb"^[A-Z]+ [^\r]*\\", "400 bad_"), "A backslash in the target is refused (RT-13)."),
    (_holds(rb"^GET http://[^/\r ]*@", "400 bad_"), "A user name in the target is refused (RT-04)."),
    (_holds(rb"^M-SEARCH \*", "400 bad_"), "The target * is for OPTIONS only (RT-05)."),
    (_holds(rb"^(-BLARGH|[a-z-]+) ", "400 bad_"), "The parser knows a closed list of methods (RT-08)."),
    (_holds(rb"^PROXY |\r\nQUIT\n", "400 bad_"), "The PROXY protocol is not spoken on this listener."),
    (_holds(rb"\r\n[ \t]+\S", "400 bad_"), "Folded lines are refused (BF-12)."),
    (_holds(rb"\r\n[\w-]+[ \t]+:", "400 bad_"), "A blank between name and colon is refused (BF-02)."),
    (_holds(rb"\r\n[0-9a-f]+;[^\r]*[ \"]", "400 bad_"), "The parser takes no blanks here (U12)."),
    (_taken(rb"[\n](Transfer|Content)_"), "Underscore twins of framing fields are dropped (HQ-09)."),
    (_taken(rb"X-Forwarded-Proto"), "Forwarded fields of a peer nobody trusts are written anew (FW-02)."),
    (_taken(rb"Content-Type.*Content-Type"), "Both lines pass in their order: they frame nothing (HQ-01)."),
    (_taken(rb"\r\n0\r\nHost:"), "Trailers of a request are dropped (HQ-10)."),
    (_taken(rb"^(\r\n)+[A-Z]"), "Empty lines in front of a request are skipped (RFC 9112 §2.2)."),
    (_taken(rb"Upgrade: ws"), "Its origin pauses here; a foreign offer is a plain request (UP-06)."),
    (_taken(rb"Long-header|\r\nX: y|^GET /test HTTP/1.1\r\n(Host: corpus.test\r\n)?Accept: \*/\*\r\n\r\n"),
     "A limit of that server's test; ours are larger (LI-01, LI-02)."),
]  # fmt: skip

RESPONSES: Final[list[Rule]] = [
    (_answered("cut"), "The bytes end before the message does: the client sees that too (BF-16)."),
    (_holds(rb"^HTTP/0\.9"), "Only HTTP/1.0 and 1.1 are spoken (RT-01)."),
    (_holds(rb"Transfer-Encoding: (?!chunked\r\n(?!Transfer))", "502"), "Only chunked is taken (BF-14)."),
    (
        _taken(rb"Connection: close"),
        "The first answer is whole and relayed; bytes behind it reach nobody (BF-13).",
    ),
]


def reason_for(corpus: str, case: Case) -> str:
    """One sentence, or "" when no rule knows it: then somebody has to look."""
    rules = RESPONSES if corpus.endswith("responses") else REQUESTS
    return next((why for fits, why in rules if fits(case)), "")
