"""The plain pages for people: what can be typed is marked, lines stay lines, nothing foreign gets in."""

from __future__ import annotations

from hestia.api.models import ErrorHelp
from hestia.api.pages import error_help, problem_page, prose


def test_backticks_become_code_and_markup_stays_text() -> None:
    assert prose("Raise `queue_size` of <b>") == "Raise <code>queue_size</code> of &lt;b&gt;"
    assert prose("`<script>`") == "<code>&lt;script&gt;</code>"
    assert prose("one ` alone") == "one ` alone"


def test_error_help_shows_no_backtick() -> None:
    page = bytes(error_help(ErrorHelp(code="queue_full", meaning="Full.", do=["Raise `queue_size`."])).body)
    assert b"<li>Raise <code>queue_size</code>.</li>" in page
    assert b"`" not in page


def test_problem_page_keeps_the_remedy_on_a_line_of_its_own() -> None:
    body = {
        "code": "not_found",
        "title": "Not found",
        "detail": 'Nothing at "/x".\nDo: GET /v1',
        "requestId": "r",
    }
    page = bytes(problem_page(404, body).body)
    assert b"<p>Nothing at &quot;/x&quot;.</p>\n<p>Do: GET /v1</p>" in page
