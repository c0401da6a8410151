"""The few plain HTML pages of the API: landing, error help, problem. No style, script or foreign request.

Owns markup and the question whether a request is a person's browser. The dashboard replaces the landing
page; the help pages stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from hestia.api import models

POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_CODE: Final = re.compile(r"`([^`]+)`")


def wants_page(scope: Scope) -> bool:
    """Whether a person looks at the answer: browsers put text/html first, programs do not."""
    for name, value in scope["headers"]:
        if name == b"accept":
            return bytes(value).lower().lstrip().startswith(b"text/html")
    return False


def page(title: str, parts: Iterable[str], status: int = 200) -> Response:
    """A whole page from pieces of HTML that are escaped already."""
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)} · Hestia</title>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )
    fields = {"content-security-policy": POLICY, "cache-control": "no-store"}
    return HTMLResponse(text, status, fields)


def link(path: str, text: str) -> str:
    """An anchor to a path of this gateway."""
    return f'<a href="{escape(path, quote=True)}">{escape(text)}</a>'


def prose(text: str) -> str:
    """A sentence of ours as HTML: what stands in backticks can be typed."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def bullets(items: Iterable[str]) -> str:
    """A list of pieces of HTML."""
    return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in items) + "\n</ul>"


def landing(index: models.Index, count: int) -> Response:
    """What a person sees at `/`."""
    rows = [
        f"{link(service.proxy, service.service_id)} ({link(service.status, 'status')})"
        for service in index.services
    ]
    parts = [
        f"<p>Hestia {escape(index.version)} runs here. "
        "A request to a service starts it if it sleeps; opening a link below does so too.</p>",
        f"<h2>Services ({count})</h2>",
        bullets(rows) if rows else "<p>None is configured. Add one to hestia_config.yml.</p>",
    ]
    if count > len(rows):
        parts.append(f"<p>{count - len(rows)} more: {link('/v1/services', '/v1/services')}</p>")
    parts.append("<h2>More</h2>")
    parts.append(bullets(link(path, f"{name}: {path}") for name, path in index.links.items()))
    return page("Services", parts)


def problem_page(status: int, body: Mapping[str, object]) -> Response:
    """A problem for a person: the same words as the JSON, and the way on."""
    code = str(body["code"])
    parts = [
        *(f"<p>{prose(line)}</p>" for line in str(body["detail"]).splitlines()),
        f"<p>{status} {escape(code)}, request {escape(str(body.get('requestId') or '-'))}</p>",
        f"<p>{link('/help/errors/' + code, 'What this means')} · {link('/', 'All services')}</p>",
    ]
    return page(str(body["title"]), parts, status)


def error_help(text: models.ErrorHelp) -> Response:
    """The page about one error code."""
    parts = [
        f"<p>{prose(text.meaning)}</p>",
        "<h2>What to do</h2>",
        bullets(prose(item) for item in text.do),
        f"<p>{link('/help/errors', 'All error codes')} · {link('/', 'All services')}</p>",
    ]
    return page(text.code, parts)


def error_list(codes: Iterable[str]) -> Response:
    """The list of all error codes."""
    return page("Error codes", [bullets(link(f"/help/errors/{code}", code) for code in codes)])
