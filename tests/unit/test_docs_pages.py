"""Pages for people: links lead somewhere, errors and commands are told, numbers are the code's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from hestia.api.error_texts import ERRORS
from hestia.cli.root import COMMANDS, overview, root
from hestia.config.models import BackoffKeys, EngineKeys, GatewayKeys, ServiceKeys
from hestia.core import errors
from hestia.edge import connection, limits
from hestia.http1 import heads, pool, target, upstream
from hestia.inward import dispatch
from hestia.problems import TABLE
from hestia.proxy import attempts, buffers, relay, retry
from hestia.runtime import words

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PROXY = ROOT / "docs" / "proxy.md"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _all_errors() -> Iterator[type[errors.HestiaError]]:
    waiting = [errors.HestiaError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += kind.__subclasses__()


CODES = sorted({kind.code for kind in _all_errors() if kind.__module__ == errors.__name__})


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in _anchors(there), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_have_no_emoji(page: Path) -> None:
    allowed = set("…●○→↔≥≤·✖▶◐◌×²µ§–█")
    for char in page.read_text(encoding="utf-8"):
        assert unicodedata.category(char) != "So" or char in allowed, f"{page.name}: {char!r}"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150  # DC-01


@pytest.mark.parametrize("code", CODES)
def test_each_error_code_is_explained_by_the_command_line(code: str) -> None:
    """DC-08: what happened, and at least one thing to do."""
    shown = CliRunner().invoke(root, ["help", "errors", code])
    text = ERRORS[code]
    assert text.meaning.endswith((".", ")."))
    assert text.do
    assert shown.exit_code == 0
    assert text.meaning in shown.output
    assert all(item in shown.output for item in text.do)


def test_each_explained_code_exists() -> None:
    assert set(ERRORS) == set(CODES)


def test_each_command_is_told() -> None:
    told = overview() + "".join(page.read_text(encoding="utf-8") for page in PAGES[:1])
    for name, lazy in COMMANDS.items():
        assert lazy.hidden or re.search(rf"\bhestia {name}\b", told), name


def test_commands_named_in_explanations_exist() -> None:
    for code, text in ERRORS.items():
        for command in re.findall(r"hestia ([a-z]+)", " ".join((text.meaning, *text.do))):
            assert command in COMMANDS, f"{code}: hestia {command}"


def test_keys_named_in_explanations_exist() -> None:
    """ET-04: what is to be changed can be written in the file of this version."""
    known = {
        name for model in (GatewayKeys, ServiceKeys, EngineKeys, BackoffKeys) for name in model.model_fields
    }
    for code, text in ERRORS.items():
        for key in re.findall(r"`([a-z_]+)(?::[^`]*)?`", " ".join(text.do)):
            assert key in known | {"services"}, f"{code}: {key}"


def test_proxy_page_names_real_codes_with_their_status() -> None:
    """`503 queue_full` in a table is what `problems` answers."""
    statuses = {kind.code: kind for kind in _all_errors()}
    found = re.findall(r"(\d{3}) `([a-z_]+)`", PROXY.read_text(encoding="utf-8"))
    assert len(found) > 25
    for status, code in found:
        kind = statuses[code]
        row = next(TABLE[parent] for parent in kind.__mro__ if parent in TABLE)
        assert int(status) == row.status, code


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("first byte of a new connection | 10 s", connection.FIRST_BYTE_TIMEOUT == 10),
        ("whole request head | 15 s", connection.HEAD_TIMEOUT == 15),
        ("pause in a request body | 60 s", connection.BODY_TIMEOUT == 60),
        ("between requests on one connection | 75 s", connection.KEEP_ALIVE_TIMEOUT == 75),
        ("client does not read our bytes | 120 s", connection.WRITE_TIMEOUT == 120),
        ("pause in the body of an answer | 10 min", relay.BODY_GAP == 600),
        ("idle connection to the service | 4 s", upstream.IDLE_TIMEOUT == 4),
        ("request target | 16 KiB", target.TARGET_MAX == 16 * 1024),
        (
            "one field; number of fields | 64 KiB; 16 KiB; 200",
            (heads.HEAD_MAX, heads.FIELD_MAX, heads.FIELDS_MAX) == (65536, 16384, 200),
        ),
        ("requests sent ahead on one connection | 16", connection.PIPELINED == 16),
        ("beyond this machine | 4096; 512", (limits.CONNECTIONS, limits.PER_PEER) == (4096, 512)),
        ("64 KiB each way, beside 256 KiB", (connection.HIGH_WATER, buffers.SPOOL_LIMIT) == (65536, 262144)),
        ("(1 MiB at most, 64 MiB for all",
         (buffers.REPLAY_LIMIT, buffers.REPLAY_TOTAL) == (1024 * 1024, 64 * 1024 * 1024)),
        ("all together | 256 MiB", buffers.HELD_TOTAL == 256 * 1024 * 1024),
        ("a fifth of the requests that a service got in the last 10 s, and 3 in any case",
         (retry.BUDGET_SHARE, retry.BUDGET_WINDOW, retry.BUDGET_LEAST) == (0.2, 10, 3)),
        ("Refused within 2 s after the service became hot: again every 50 ms",
         (attempts.REFUSED_AFTER_HOT, retry.REFUSED_PAUSE) == (2, 0.05)),
        ("within a second of its last", pool.NONIDEMPOTENT_IDLE == 1),
        ("(103 and the like, 16 at", upstream.INTERIM_LIMIT == 16),
        ("A call may have 4 MiB", dispatch.BODY_MAX == dispatch.ANSWER_MAX == 4 * 1024 * 1024),
    ],
)  # fmt: skip
def test_proxy_page_gives_the_numbers_of_the_code(line: str, value: bool) -> None:
    assert line in PROXY.read_text(encoding="utf-8")
    assert value, f"docs/proxy.md says {line!r}, the code something else"


def test_dc03_every_event_that_is_no_change_of_state_is_told() -> None:
    page = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    assert set(words.NOTES) == set(re.findall(r"`([A-Z][a-z]+[A-Z][A-Za-z]+)`", page))
