"""The documents of `POST /v1/requests`: a call read into plain values, an answer written as JSON.

JSON bodies are taken out and put in as the text they are: numbers, order and doubled keys stay what the
sender wrote. Source: SPEC 3, proxy-semantics SS-04, SS-08.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hestia.api.names import nearest, quoted
from hestia.core.errors import BadRequest

_REQUIRED: Final = ("serviceId", "method", "path")
_KNOWN: Final = (*_REQUIRED, "headers", "body")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_EXAMPLE: Final = 'write it like {"serviceId": "ollama", "method": "GET", "path": "/api/tags"}'
_TEXT: Final = frozenset(
    f"application/{name}"
    for name in ("xml", "javascript", "x-ndjson", "jsonl", "yaml", "x-yaml", "x-www-form-urlencoded")
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call as plain values. kind: content type of `body` unless `fields` names one, "" for none."""

    service: str
    method: str
    path: str
    fields: list[tuple[str, str]]
    body: bytes | None
    kind: str


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


# Numbers are only looked at: as floats they cost the same however long they are.
_DECODER: Final = json.JSONDecoder(parse_int=float, parse_constant=_no_constant)
_Members = dict[str, tuple[object, str]]  # name → value, and its text


def read_call(document: bytes) -> Wanted:
    """The call of a JSON document. Raises BadRequest with the field, what was found and what to do."""
    members = _members(document)
    for name in members:
        if name not in _KNOWN:
            near = nearest(name, _KNOWN)
            hint = f" The nearest is {near}." if near else ""
            raise BadRequest(
                f"The body field {quoted(name)} is not known here.{hint}",
                remedy=f"the fields are {', '.join(_KNOWN)}",
            )
    texts = [_text(members, name) for name in _REQUIRED]
    fields = _fields(*members.get("headers", (None, "")))
    body, kind = _body(*members.get("body", (None, "")))
    return Wanted(texts[0], texts[1], texts[2], fields, body, kind)


def _members(document: bytes) -> _Members:
    """The members of a JSON object. Raises BadRequest where it is none."""
    try:
        text = document.decode("utf-8-sig")
        return _scan(text)
    except UnicodeDecodeError as exc:
        raise BadRequest(f"The body is not UTF-8 (at byte {exc.start}).", remedy=_EXAMPLE) from exc
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno} column {exc.colno}"
        raise BadRequest(f"The body is not JSON at {where}: {exc.msg}.", remedy=_EXAMPLE) from exc
    except (ValueError, RecursionError) as exc:
        why = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise BadRequest(f"The body is not JSON: {why}.", remedy=_EXAMPLE) from exc


def _scan(text: str) -> _Members:
    """Members of the object that a text is, each with its own text. Raises ValueError."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise json.JSONDecodeError("expected an object", text, at)
    members: _Members = {}
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        if members:
            at = _skip(text, _expect(",", text, at))
        start = at
        name, at = _DECODER.raw_decode(text, at)
        if not isinstance(name, str):
            raise json.JSONDecodeError("expected a field name in double quotes", text, start)
        if name in members:
            raise json.JSONDecodeError(f"the field {quoted(name)} is there twice", text, start)
        start = _skip(text, _expect(":", text, _skip(text, at)))
        value, at = _DECODER.raw_decode(text, start)
        members[name] = value, text[start:at]
        at = _skip(text, at)
    if _skip(text, at + 1) != len(text):
        raise json.JSONDecodeError("expected the end", text, _skip(text, at + 1))
    return members


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found is not None else at


def _expect(sign: str, text: str, at: int) -> int:
    if text[at : at + 1] != sign:
        raise json.JSONDecodeError(f"expected '{sign}'", text, at)
    return at + 1


def _text(members: _Members, name: str) -> str:
    """A required field that is a string."""
    if name not in members:
        raise BadRequest(f"The body field {name} is missing.", remedy=_EXAMPLE)
    value, written = members[name]
    if not isinstance(value, str):
        raise BadRequest(f"The body field {name} is {quoted(written)}; expected a string.", remedy=_EXAMPLE)
    return value


def _fields(headers: object, written: str) -> list[tuple[str, str]]:
    """Header fields in the order of the document (SS-08)."""
    if headers is None:
        return []
    if not isinstance(headers, dict):
        raise BadRequest(
            f"The body field headers is {quoted(written)}; expected an object of names and values.",
            remedy='write it like {"accept": "application/json"}',
        )
    try:
        _scan(written)
    except json.JSONDecodeError as exc:  # a name that is there twice: one of its values would be lost (SS-08)
        raise BadRequest(
            f"In the body field headers {exc.msg}.",
            remedy='write several values of one name as a list: {"accept": ["a", "b"]}',
        ) from exc
    fields: list[tuple[str, str]] = []
    for name, value in headers.items():
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            raise BadRequest(
                f"The body field headers.{quoted(name)} is no string and no list of strings.",
                remedy='write values in quotes, like "1"',
            )
        fields += [(name, one) for one in values]
    return fields


def _body(value: object, written: str) -> tuple[bytes | None, str]:
    """Bytes of a body and their content type."""
    if value is None:
        return None, ""
    if isinstance(value, str):
        return _encoded(value), "text/plain; charset=utf-8"
    if isinstance(value, dict) and list(value) == ["base64"]:
        try:
            if not isinstance(value["base64"], str):
                raise ValueError("it is no string")
            return base64.b64decode(value["base64"], validate=True), ""
        except (binascii.Error, ValueError) as exc:
            raise BadRequest(
                f"The body field body.base64 is not base64: {exc}.",
                remedy="use the alphabet of RFC 4648 §4 with its padding; JSON that looks like this is sent "
                "as a string, with its content-type in headers",
            ) from exc
    return _encoded(written), "application/json"


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise BadRequest(
            f"The body field body has half a surrogate pair at character {exc.start}; UTF-8 has none.",
            remedy='send bytes as {"base64": …}',
        ) from exc


# -- the answer --------------------------------------------------------------------------------


def answer_document(status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
    """The answer of a service as a JSON document."""
    headers: dict[str, str | list[str]] = {}
    for name, value in fields:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        known = headers.get(key)
        if known is None:
            headers[key] = text
        elif isinstance(known, list):
            known.append(text)
        else:
            headers[key] = [known, text]
    parts = (b'{"status":%d,"headers":' % status, json.dumps(headers).encode(), b',"body":')
    return b"".join((*parts, _represented(headers, body), b"}"))


def _represented(headers: dict[str, str | list[str]], body: bytes) -> bytes:
    """A body as a JSON value from which its bytes can be told (SS-04)."""
    if not body:
        return b"null"
    kind = headers.get("content-type")
    name = kind.partition(";")[0].strip().lower() if isinstance(kind, str) else ""
    if headers.get("content-encoding", "identity") == "identity":
        if (name == "application/json" or name.endswith("+json")) and _is_json(body):
            return body
        if name.startswith("text/") or name.endswith("+xml") or name in _TEXT:
            try:
                return json.dumps(body.decode(), ensure_ascii=False).encode()
            except UnicodeDecodeError:
                pass
    return json.dumps({"base64": base64.b64encode(body).decode()}).encode()


def _is_json(body: bytes) -> bool:
    """Whether a body is JSON that can be told from our own marks."""
    try:
        value = json.loads(body.decode(), parse_int=float, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return not (isinstance(value, dict) and list(value) == ["base64"])
