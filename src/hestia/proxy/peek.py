"""Looks into the beginning of a body for one value, piece by piece, with bounded memory and in linear time.

Owns three forms: a JSON object (the key at its top), a form and a multipart form. Nothing is taken out of the
body, and nothing of it is understood beyond what the search needs: what is broken simply has no such value.
Source: proxy-semantics SB-07, SB-11.
"""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import unquote_plus

from hestia.http1.fields import tokens
from hestia.http1.heads import Request

LONGEST: Final = 1024  # characters of a value that is worth having
WHOLE: Final = 16 * 1024  # bytes of a JSON body that is read as such: 4 KiB in 10 us
_REST: Final = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'  # of a string; possessive: nothing is tried a second time
_STRING: Final = rb'"' + _REST + rb'"'
_MARK: Final = re.compile(rb'["{}\[\]]')  # outside of strings nothing else counts
_INNER: Final = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+", re.DOTALL)
_TO_QUOTE: Final = re.compile(_REST, re.DOTALL)
_VALUE: Final = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+(" + _STRING + rb")", re.DOTALL)
_PENDING: Final = re.compile(rb"[ \t\r\n]*+(?::[ \t\r\n]*+(?:\"" + _REST + rb"\\?)?)?\Z", re.DOTALL)
_NAME: Final = re.compile(rb';[ \t]*name="?([^";\r\n]*)"?', re.IGNORECASE)
_BOUNDARY: Final = re.compile(rb';[ \t]*boundary=(?:"([^"\r\n]{1,200})"|([^;\s]{1,200}))', re.IGNORECASE)


class Peek:
    """The search in one body. limit: bytes that are looked at. length: of the body, below 0 where it is not
    known. why: once it is over without a value, for
    people."""

    __slots__ = (
        "_boundary",
        "_data",
        "_depth",
        "_form",
        "_in_string",
        "_length",
        "_limit",
        "_name",
        "_place",
        "_seen",
        "_wanted",
        "over",
        "value",
        "why",
    )

    def __init__(self, name: str, form: str, boundary: bytes, limit: int, length: int = -1) -> None:
        self.value: str | None = None
        self.over = False
        self.why = ""
        self._name = name
        self._form = form
        self._boundary = boundary
        self._limit = limit
        self._length = length
        self._data = bytearray()
        self._place = 0  # until where it was looked at
        self._seen = 0  # until where it was searched for the end of what begins at that place
        self._depth = 0  # of brackets around that place
        self._in_string = False
        self._wanted = json.dumps(name).encode()

    def feed(self, data: bytes) -> bool:
        """Look at one more piece; whether the search is over."""
        if self.over:
            return True
        if self._form == "json" and len(data) == self._length <= WHOLE and self._read_whole(data):
            return True
        left = self._limit - len(self._data)
        self._data += data if len(data) <= left else data[:left]
        self._look(last=False)
        if not self.over and len(self._data) >= self._limit:
            self._stop(f"not within the first {self._limit} bytes of the body")
        return self.over

    def end(self) -> None:
        """The body is over."""
        if not self.over:
            self._look(last=True)
        if not self.over:
            self._stop("not in the body")

    def give_up(self, why: str) -> None:
        """No more of the body is looked at."""
        if not self.over:
            self._stop(why)

    def _stop(self, why: str) -> None:
        self.over, self.why = True, why
        self._data = bytearray()

    def _found(self, value: str) -> None:
        if len(value) > LONGEST:
            self._stop(f"longer than {LONGEST} characters")
            return
        self.value = value
        self._stop("")

    def _look(self, *, last: bool) -> None:
        if self._form == "json":
            self._look_at_json()
        elif self._form == "form":
            self._look_at_form(last)
        else:
            self._look_at_parts()

    # -- JSON ----------------------------------------------------------------------------------

    def _read_whole(self, data: bytes) -> bool:
        """The short way where all of a small body came at once; False: it is to be searched."""
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return False
        value = document.get(self._name) if isinstance(document, dict) else None
        if isinstance(value, str):
            self._found(value)
        else:
            self._stop("not in the JSON body")
        return True

    def _look_at_json(self) -> None:
        """Go on from token to token; a key counts at depth one only."""
        data = self._data
        if self._in_string and not self._leave_string():
            return
        depth, place = self._depth, self._place
        while True:
            if depth > 1:  # no key there is the one: on to the next bracket, over strings as well
                inner = _INNER.match(data, place)
                place = inner.end() if inner is not None else place
            token = _MARK.search(data, place)
            if token is None:
                place = len(data)
                break
            start = token.start()
            mark = data[start]
            if mark == 0x22:
                end = _end_of_string(data, start)
                if end < 0:
                    place = start
                    if depth != 1 or len(data) - start > len(self._wanted):  # it is not the key either
                        self._in_string, place = True, start + 1
                    break
                if depth == 1 and data[start:end] == self._wanted:
                    if (value := _VALUE.match(data, end)) is not None:
                        self._found(_text(bytes(value[1])))
                        return
                    if _PENDING.match(data, end):  # its value is still to come
                        place = start
                        if len(data) - start > LONGEST + len(self._wanted):
                            self._stop(f"longer than {LONGEST} characters")
                            return
                        break
                place = end
                continue
            if mark in (0x7B, 0x5B):
                depth += 1
            else:
                depth -= 1
                if depth <= 0:
                    self._stop("not in the JSON body")
                    return
            place = token.end()
        self._depth, self._place = depth, place
        if self._in_string:
            self._leave_string()

    def _leave_string(self) -> bool:
        """Go on to the end of the string; whether it is here. A backslash at the end waits for more."""
        data = self._data
        found = _TO_QUOTE.match(data, self._place)
        self._place = found.end() if found is not None else self._place
        if self._place >= len(data) or data[self._place] != 0x22:
            return False
        self._place += 1
        self._in_string = False
        return True

    # -- forms -----------------------------------------------------------------------------------

    def _look_at_form(self, last: bool) -> None:
        """`application/x-www-form-urlencoded`."""
        data = self._data
        while not self.over:
            end = data.find(b"&", self._seen)
            self._seen = len(data)
            if end < 0:
                if not last or self._place >= len(data):
                    return
                end = len(data)
            name, equals, value = bytes(data[self._place : end]).partition(b"=")
            if equals and unquote_plus(name.decode("latin-1"), "utf-8") == self._name:
                self._found(unquote_plus(value.decode("latin-1"), "utf-8"))
                return
            self._place = self._seen = end + 1

    def _look_at_parts(self) -> None:
        """`multipart/form-data` (RFC 7578): the part of that name, once it is whole."""
        data, line = self._data, b"--" + self._boundary
        while True:
            begin = data.find(line, self._place)
            head = data.find(b"\r\n\r\n", begin) if begin >= 0 else -1
            if head < 0:
                return
            end = data.find(b"\r\n" + line, max(head + 2, self._seen))
            if end < 0:
                self._seen = max(head + 2, len(data) - len(line) - 1)
                return
            name = _NAME.search(data, begin, head)
            if name is not None and bytes(name[1]).decode("utf-8", "replace") == self._name:
                self._found(bytes(data[head + 4 : end]).decode("utf-8", "replace"))
                return
            self._place = self._seen = end + 2


def _end_of_string(data: bytearray, start: int) -> int:
    """Behind the quote that ends the string which begins at `start`; -1 where it has not ended."""
    end = data.find(b'"', start + 1)
    if end > 0 and data[end - 1] == 0x5C:  # perhaps an escaped one
        found = _TO_QUOTE.match(data, start + 1)
        end = found.end() if found is not None else -1
        if end >= len(data) or data[end] != 0x22:
            return -1
    return end + 1 if end >= 0 else -1


def _text(string: bytes) -> str:
    try:
        value = json.loads(string)
    except ValueError:  # a control character, or bytes that are no text
        return string[1:-1].decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def peek_for(request: Request, name: str, limit: int) -> Peek | None:
    """How to search the body of this request; None where it has none of a form that is known."""
    kind = request.get(b"content-type") or b""
    if [one for one in tokens(request.get_all(b"content-encoding")) if one != b"identity"]:
        return None
    essence = kind.partition(b";")[0].strip(b" \t").lower()
    if essence == b"multipart/form-data":
        found = _BOUNDARY.search(kind)
        return None if found is None else Peek(name, "multipart", found[1] or found[2], limit)
    if essence == b"application/x-www-form-urlencoded":
        return Peek(name, "form", b"", limit)
    if not essence or essence == b"application/json" or essence.endswith(b"+json"):
        return Peek(name, "json", b"", limit, request.length)
    return None
