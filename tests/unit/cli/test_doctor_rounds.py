"""How checks are run and shown: side by side, none for ever, everything told; and no secret in a report."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hestia.cli.doctor.finding import Check, Finding, Level, fail, ok, skip, warn
from hestia.cli.doctor.report import cleaned
from hestia.cli.doctor.rounds import Round
from hestia.cli.doctor.running import process_of
from hestia.cli.doctor.show import document, lines, summary
from hestia.cli.screen import Screen

PAPER = Screen(terminal=False, colour=False, redraw=False, drawn_marks=False, width=None)
TERMINAL = Screen(terminal=True, colour=False, redraw=True, drawn_marks=True, width=60)


def quiet(done: int, count: int, names: object) -> None:
    """Nobody looks."""


@pytest.fixture
def hanging() -> Iterator[Check]:
    """A check that gives no answer while the test runs."""
    end = threading.Event()

    def look() -> list[Finding]:
        end.wait()
        return []

    yield Check("disk", "", look, "df /")
    end.set()


def test_cl19_findings_keep_the_order_of_the_checks() -> None:
    first = threading.Event()

    def late() -> list[Finding]:
        first.wait()
        return [ok("a", "one"), warn("a", "two", "")]

    def early() -> list[Finding]:
        first.set()
        return [ok("b", "three")]

    whole = Round([Check("a", "", late, ""), Check("b", "", early, "")])
    whole.run(quiet)
    assert [finding.text for finding in whole.findings] == ["one", "two", "three"]


def test_cl19_a_check_that_hangs_is_given_up_and_the_others_are_told(hanging: Check) -> None:
    whole = Round([hanging, Check("b", "", lambda: [ok("b", "fine")], "")], limit=0.05)
    whole.run(quiet)
    assert [(one.check, one.level) for one in whole.findings] == [("disk", Level.FAIL), ("b", Level.OK)]
    assert whole.findings[0].do == ("df /",)


def test_cl19_the_whole_round_has_an_end(hanging: Check) -> None:
    whole = Round([hanging], limit=1000.0, in_all=0.05)
    whole.run(quiet)
    assert [one.level for one in whole.findings] == [Level.SKIP]


def test_a_check_that_breaks_is_a_finding() -> None:
    def broken() -> list[Finding]:
        raise KeyError("x\x1b")

    whole = Round([Check("a", "chat", broken, "")])
    whole.run(quiet)
    (finding,) = whole.findings
    assert finding.level is Level.FAIL
    assert finding.text.startswith("chat: the check itself failed: KeyError")


def test_an_interruption_keeps_what_is_known(hanging: Check) -> None:
    """CL-07."""
    whole = Round([Check("b", "", lambda: [ok("b", "fine")], ""), hanging])

    def tell(done: int, count: int, names: object) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole.run(tell)
    assert [one.text for one in whole.findings] == ["fine"]
    assert whole.left == 1


# -- showing -----------------------------------------------------------------------------------


def test_each_line_says_level_check_text_and_what_to_do() -> None:
    found = [ok("disk", "fine"), fail("port", "taken", "port", "kill 5", "take 8081"), skip("tls", "not set")]
    assert list(lines(found, PAPER)) == [
        "ok    disk      fine",
        "FAIL  port      taken",
        "      do: kill 5",
        "      or: take 8081",
        "skip  tls       not set",
    ]
    assert list(lines(found, PAPER, quiet=True)) == [
        "FAIL  port      taken", "      do: kill 5", "      or: take 8081",
    ]  # fmt: skip
    assert summary(found) == "1 failed, 1 ok"


def test_long_lines_wrap_on_a_terminal_and_lose_nothing() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen"
    shown = list(lines([warn("port", text, "", text)], TERMINAL))
    assert all(len(line) < 60 for line in shown)
    assert " ".join(" ".join(shown).split()) == f"warn port {text} do: {text}"


def test_many_that_are_well_are_folded_and_what_is_wrong_is_not() -> None:
    found = [ok("address", f"s{number}") for number in range(1000)]
    found += [fail("address", f"f{number}", "") for number in range(20)]
    shown = list(lines(found, PAPER))
    assert shown[8] == "ok    address   and 992 more"
    assert len(shown) == 9 + 20


def test_cl02_the_document_has_every_finding() -> None:
    found = [ok("disk", "fine"), warn("clock", "odd", "", "set it")]
    told = document(found, seconds=0.5, url="http://localhost:8080")
    assert told["ok"] is True
    assert told["counts"] == {"ok": 1, "skip": 0, "warn": 1, "fail": 0}
    assert [one["severity"] for one in told["findings"]] == ["ok", "warn"]
    assert document([fail("a", "b", "")], seconds=0.0, url="")["ok"] is False


def test_et07_a_report_is_cleaned_of_secrets_and_of_the_home_folder() -> None:
    body = [
        "token=canary1 and canary2x",
        "Authorization: Bearer abcdef",
        "/home/me/models /home/mediocre",
        "http://user:pw@host/",
    ]
    text = "\n".join(cleaned(body, ["canary2x"], home="/home/me"))
    for secret in ("canary1", "canary2x", "abcdef", "user:pw"):
        assert secret not in text
    assert "~/models /home/mediocre" in text


# -- the lock ----------------------------------------------------------------------------------


def test_the_holder_of_the_state_folder_is_read_and_the_lock_left_alone(tmp_path: Path) -> None:
    lock = tmp_path / "gateway.lock"
    lock.write_text("4711\n")
    inode = lock.stat().st_ino
    locks = tmp_path / "locks"
    locks.write_text(f"1: FLOCK  ADVISORY  WRITE 4711 fe:00:{inode} 0 EOF\n")
    assert process_of(str(tmp_path), locks) == 4711
    locks.write_text(
        f"1: POSIX  ADVISORY  WRITE 4711 fe:00:{inode} 0 EOF\n"
        f"1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:{inode} 0 EOF\n"
        f"2: FLOCK  ADVISORY  WRITE 4711 fe:00:{inode}1 0 EOF\n"
    )
    assert process_of(str(tmp_path), locks) == 0
    assert process_of(str(tmp_path / "nowhere"), locks) == 0
