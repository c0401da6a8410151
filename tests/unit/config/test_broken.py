"""The corpus of broken configurations (CL-20): `broken/<case>.yml` and beside it what a person is told.

A text is written once and then read by a person: HESTIA_TEST_GOLDEN=write makes the missing ones.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hestia.config import ConfigProblems, Problem
from hestia.config.errors import printable
from tests.unit.config.loading import Loader

FOLDER = Path(__file__).parent / "broken"
CASES = sorted(path.stem for path in FOLDER.glob("*.yml"))
CLASSES = {
    "address", "columns", "duration", "engine", "excerpt", "flag", "host", "hosts", "key", "later",
    "limits", "list", "listen", "many", "merge", "number", "port", "room", "rules", "secret",
    "telemetry", "tls", "word", "yaml",
}  # fmt: skip
SECRET = "hunter2"
ENVIRONMENT = {"SECRET_TEXT": f"{SECRET} canary", "HOME": "/nowhere"}


def faults(loader: Loader, case: str) -> ConfigProblems:
    with pytest.raises(ConfigProblems) as found:
        loader((FOLDER / f"{case}.yml").read_text(encoding="utf-8"), env=ENVIRONMENT)
    return found.value


@pytest.mark.parametrize("case", CASES)
def test_cl20_a_broken_file_says_what_is_told_in_the_corpus(loader: Loader, case: str) -> None:
    golden = FOLDER / f"{case}.txt"
    said = faults(loader, case).render() + "\n"
    if not golden.exists() and os.environ.get("HESTIA_TEST_GOLDEN") == "write":
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_cl20_the_place_is_right_and_the_caret_stands_under_it(loader: Loader, case: str) -> None:
    """RF20678: computed from the file, not from the golden text."""
    text = (FOLDER / f"{case}.yml").read_text(encoding="utf-8")
    for problem in faults(loader, case).problems:
        assert problem.source == "hestia_config.yml"
        line = text.splitlines()[problem.line - 1]
        there = line[problem.column - 1 : problem.column - 1 + problem.width]
        assert there, f"nothing stands at {problem.line}:{problem.column}"
        _stands_there(problem, there)
        head, shown, caret = problem.render().splitlines()[:3]
        assert head.startswith(f"hestia_config.yml:{problem.line}:{problem.column}: ")
        assert len(shown) <= 170
        mark = caret.index("^")
        seen = shown[mark : mark + len(there)].rstrip("…")
        blotted = set(seen) <= {"*"} or "*" in seen
        assert blotted or there.startswith(seen) or not there.isprintable()


def _stands_there(problem: Problem, there: str) -> None:
    """What the problem points at is the value found, or the last part of the key."""
    if not problem.key or problem.found in ("***", "a mapping", "a list", "nothing", "an empty text"):
        return
    bare = there.strip("\"'")
    last = problem.key.rpartition(".")[2]
    named = bare == last or f".{bare}" in problem.key or bare in ("engine", "services")
    assert (
        named
        or problem.found.strip("'…")[:20] in (bare[:20], repr(bare)[1:21], printable(bare)[:20])
        or ("\\" in there)
    ), f"{there!r} is neither {problem.key} nor {problem.found}"


def test_the_corpus_is_large_and_knows_every_class_of_fault() -> None:
    assert len(CASES) >= 45
    assert {case.partition("_")[0] for case in CASES} == CLASSES
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(CASES)


def test_no_text_of_the_corpus_shows_a_secret_or_lists_all_keys(loader: Loader) -> None:
    """RF10865: the nearest key, never all of them."""
    for path in FOLDER.glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert SECRET not in text, path.name
        assert "\x1b" not in text, path.name
        for line in text.splitlines():
            assert sum(key in line for key in ("queue_size", "idle_timeout", "hosts", "on_cold")) < 3


def test_all_faults_of_all_sources_are_said_at_once(loader: Loader) -> None:
    """Order: places in files first, by line; then what has no line."""
    found = loader.problems(
        "prot: 1\nservices:\n  chat:\n    base_url: chat\n",
        dotenv="CHAT_QUEUE_SIZE=none\n2 = 3\n",
        env={"HESTIA_LOG_FORMAT": "xml", "CHAT_RETRY_COUNT": "-1"},
        port="99999",
    )
    assert [(one.source, one.line, one.key) for one in found] == [
        (".env", 1, "CHAT_QUEUE_SIZE=none"),
        (".env", 2, ""),
        ("hestia_config.yml", 1, "prot"),
        ("hestia_config.yml", 4, "services.chat.base_url"),
        ("command line", 0, "--port 99999"),
        ("environment", 0, "HESTIA_LOG_FORMAT=xml"),
        ("environment", 0, "CHAT_RETRY_COUNT=-1"),
    ]
