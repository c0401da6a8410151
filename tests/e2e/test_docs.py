"""README and quickstart do what they say: every block run in order, every output compared (DC-01, DC-04)."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli import environment
from tests.e2e.conftest import ROOT, need_module
from tests.e2e.documents import Play, blocks, free_port, says

pytestmark = pytest.mark.e2e
BIN = Path(sys.executable).parent


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """A folder that looks like a clone which is set up, and a port of its own."""
    clone = tmp_path / "hestia"
    _make_clone(clone)
    port = free_port()
    variables = {name: text for name, text in environment().items() if not name.endswith("_BASE_URL")}
    env = {
        **variables,
        "HESTIA_PORT": str(port),
        "HESTIA_STATE_DIR": str(tmp_path / "state"),
        "PATH": f"{BIN}:{variables['PATH']}",
        "TERM": "dumb",
        "NO_COLOR": "1",
    }
    playing = Play(clone, env, port)
    yield playing
    playing.close()


def _make_clone(clone: Path) -> None:
    """What `scripts/dev.sh` needs, with a Python that installs nothing."""
    (clone / "scripts").mkdir(parents=True)
    (clone / "scripts" / "dev.sh").symlink_to(ROOT / "scripts" / "dev.sh")
    (clone / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    own = clone / ".venv" / "bin"
    own.mkdir(parents=True)
    for name in ("hestia", "activate"):
        (own / name).symlink_to(BIN / name)
    python = own / "python"
    refusal = 'case "$*" in "-m pip install"*) echo "nothing is installed in tests" >&2; exit 1;; esac'
    python.write_text(f'#!/bin/sh\n{refusal}\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    stamp = "{ cat pyproject.toml; pwd; .venv/bin/python -V; } 2>&1 | cksum >.venv/.hestia-stamp"
    subprocess.run(["bash", "-c", stamp], cwd=clone, check=True, timeout=60)


def test_readme_does_what_it_shows(play: Play) -> None:
    assert play.run(ROOT / "README.md") >= 5


def test_quickstart_does_what_it_shows(play: Play, real_python: str) -> None:
    """With openai's own client, from the environment of the real servers."""
    need_module(real_python, "openai")
    play.replaced = {"python3 chat.py": f"{real_python} chat.py"}
    assert play.run(ROOT / "docs" / "quickstart.md") >= 15


def test_a_page_that_shows_something_else_fails(play: Play, tmp_path: Path) -> None:
    """The player is no yes-man: a wrong output and a failing command are told with their place."""
    page = tmp_path / "page.md"
    page.write_text("x\n\n```sh\necho 12 s\n```\n```text\n7 s\n```\n", encoding="utf-8")
    assert play.run(page) == 1
    page.write_text("x\n\n```sh\necho yes\n```\n```text\nno\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page\.md:3 shows"):
        play.run(page)
    page.write_text("```sh\nfalse\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page\.md:1 ended with 1"):
        play.run(page)


def test_output_is_compared_whole() -> None:
    assert says("a …c\n…", "a b\nc\nmore")
    assert not says("a", "a\nmore")


def test_pages_keep_the_rules_of_blocks() -> None:
    """No prompts and no ellipsis in commands (DC-04); every block says what language it is in."""
    for page in (ROOT / "README.md", ROOT / "docs" / "quickstart.md"):
        text = page.read_text(encoding="utf-8")
        assert text.count("```") == 2 * len(blocks(page)), page
        for block in blocks(page):
            if block.language == "sh":
                assert "…" not in block.text, f"{page.name}:{block.line}"
                assert not block.text.lstrip().startswith(("$ ", "> ")), f"{page.name}:{block.line}"
