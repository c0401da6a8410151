"""Request targets: which forms are taken, which bytes and paths are refused. Nothing is ever rewritten here.

Source: RFC 9112 §3.2; proxy-semantics RT-02 to RT-17.
"""

from __future__ import annotations

import re
from typing import Final

from hestia.core.errors import BadRequest, PathRejected, TargetTooLong

TARGET_MAX: Final = 16 * 1024

_PLAIN: Final = re.compile(rb"[!\"$&-\[\]-~]*")  # all of 0x21 to 0x7E but # % and backslash
_ALLOWED: Final = bytes(octet for octet in range(0x21, 0x7F) if octet not in b"#\\")
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SEPARATOR_ESCAPE: Final = re.compile(rb"%2[fF]|%5[cC]")
_DOT_ESCAPE: Final = re.compile(rb"%2[eE]")


def needs_look(target: bytes) -> bool:
    """Whether anything in an origin-form target could be refused. The quick no for nearly all of them."""
    return _PLAIN.fullmatch(target) is None or b".." in target


def check_bytes(target: bytes) -> None:
    """Refuse a fragment and bytes that have no place in a target (RT-12, RT-13). Raises BadRequest."""
    if b"#" in target:
        raise BadRequest(
            "The target contains '#'; a fragment is never sent to a server.", remedy="write %23 for a '#'"
        )
    if target.translate(None, _ALLOWED):
        raise BadRequest(
            "The target contains a space, a backslash, a control character or a byte beyond ASCII.",
            remedy="percent-encode it",
        )


def check_path(target: bytes) -> None:
    """Refuse a path that leaves its folder or has a broken escape (RT-14, RT-16).

    Raises PathRejected, BadRequest.
    """
    path = target.partition(b"?")[0]
    if b"%" in path:
        if _BROKEN_ESCAPE.search(path):
            raise BadRequest("The path contains a '%' without two hex digits.", remedy="write %25 for a '%'")
        if b"%00" in path:
            raise PathRejected("The path contains %00.", remedy="leave it out")
        path = _DOT_ESCAPE.sub(b".", _SEPARATOR_ESCAPE.sub(b"/", path))
    for segment in path.split(b"/"):
        if segment.partition(b";")[0] == b"..":
            raise PathRejected(
                "A segment of the path is '..' (after one decoding), so it could leave the service.",
                remedy="resolve the path before sending it, or set `path_policy: verbatim` for the service",
            )


def check_length(target: bytes) -> None:
    """Raises TargetTooLong (RT-17)."""
    if len(target) > TARGET_MAX:
        raise TargetTooLong(
            f"The target is {len(target)} bytes long; {TARGET_MAX} are taken.",
            remedy="put long data into the body",
        )


def split_absolute(target: bytes) -> tuple[bytes, bytes]:
    """Authority and origin-form of an absolute-form target. Raises BadRequest (RT-03, RT-04)."""
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        raise BadRequest(
            "The target is neither a path that starts with '/' nor an http:// URL.",
            remedy="send the path of the URL, like GET /x HTTP/1.1",
        )
    end = min(
        (at for at in (rest.find(b"/"), rest.find(b"?"), rest.find(b"#")) if at >= 0), default=len(rest)
    )
    authority, path = rest[:end], rest[end:]
    if not authority or b"@" in authority:
        raise BadRequest(
            "The URL in the request line has no host, or a user name in front of it.",
            remedy="write it like http://host/path",
        )
    return authority, path if path.startswith(b"/") else b"/" + path
