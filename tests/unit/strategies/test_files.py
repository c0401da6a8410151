"""Strategies in files: loaded, reloaded, and broken in every way without taking anybody along."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import pytest

from hestia.core.strategy import Ranking, Strategies
from hestia.strategies import files
from hestia.strategies.registry import Finder
from tests.fakes.candidates import FakeAsked, Fleet, instance

GOOD = """
from pydantic import BaseModel
class Options(BaseModel):
    pass
class Last:
    name, version, features, Options = "NAME", "1.2", ("one",), Options
    def __init__(self, options, instances): pass
    def rank(self, asked, candidates): return reversed(candidates)
def register_strategy(registry): registry.register(Last)
"""
README = Path(__file__).parents[3] / "strategies" / "README.md"


def found(folder: Path, **sources: str) -> Strategies:
    """What a finder finds in a folder with these files."""
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return Finder()(str(folder))


def test_the_installed_ones_are_there_without_a_folder() -> None:
    strategies = Finder()("")
    assert set(strategies.loaded) >= {"load_balancer", "model_router", "custom_routing"}
    assert strategies.failed == ()


def test_a_file_brings_its_strategy(tmp_path: Path) -> None:
    one = found(tmp_path, mine=GOOD, _helper="not python").loaded["NAME"]
    assert one.origin == str(tmp_path / "mine.py")
    assert one.plugin.version == "1.2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def (:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("import os; os._exit(7)", "status 7"),
        ("x = 1", "no function register_strategy"),
        ("def register_strategy(registry): pass", "registers nothing"),
        ("def register_strategy(registry): registry.register(int)", "it lacks"),
        ("def register_strategy(registry): registry.register_engine(int)", "is no engine: it lacks start"),
        (GOOD.replace("NAME", "load_balancer"), "give it another name"),
    ],
)
def test_a_broken_file_is_told_and_the_others_work(tmp_path: Path, text: str, says: str) -> None:
    strategies = found(tmp_path, broken=text, good=GOOD)
    assert "NAME" in strategies.loaded
    (failed,) = strategies.failed
    assert failed.file == str(tmp_path / "broken.py")
    assert says in failed.detail, failed


def test_a_broken_file_shows_where_it_broke(tmp_path: Path) -> None:
    (failed,) = found(tmp_path, broken="def f():\n    return 1 / 0\nf()\n").failed
    assert 'broken.py", line 2, in f' in failed.trace
    assert failed.detail == "line 2: ZeroDivisionError: division by zero"


def test_an_import_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "TRIAL_LIMIT", 0.5)
    (failed,) = found(tmp_path, endless="while True: pass").failed
    assert "did not end within" in failed.detail
    assert 'endless.py", line 1' in failed.trace
    assert failed.detail.endswith("look for a loop at line 1")


def test_what_a_file_writes_without_end_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what its children write, which outlive it unless they are ended."""
    monkeypatch.setattr(files, "TRIAL_LIMIT", 0.5)
    loud = "import sys\nwhile True: sys.stderr.write('x' * 65536)"
    tracemalloc.start()
    try:
        (failed,) = found(tmp_path, loud=loud).failed
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "did not end within" in failed.detail
    assert len(failed.trace) <= 4000
    assert most < 8 * 2**20
    left = "import subprocess\nsubprocess.Popen(['sleep', '600'])\nraise OSError('no')"
    failed = next(one for one in found(tmp_path, left=left).failed if one.file.endswith("left.py"))
    assert failed.detail == "line 3: OSError: no"


def test_only_a_file_that_changed_is_loaded_again(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(GOOD.replace("NAME", "one"), encoding="utf-8")
    (tmp_path / "two.py").write_text(GOOD.replace("NAME", "two"), encoding="utf-8")
    finder = Finder()
    before = finder(str(tmp_path)).loaded
    (tmp_path / "two.py").write_text(GOOD.replace("NAME", "two").replace("1.2", "1.3"), encoding="utf-8")
    after = finder(str(tmp_path)).loaded
    assert after["one"].plugin is before["one"].plugin
    assert after["two"].plugin.version == "1.3"
    (tmp_path / "two.py").unlink()
    assert "two" not in finder(str(tmp_path)).loaded


def test_two_files_with_one_name_are_told(tmp_path: Path) -> None:
    strategies = found(tmp_path, one=GOOD, two=GOOD)
    assert strategies.loaded["NAME"].origin.endswith("one.py")
    (failed,) = strategies.failed
    assert "rename one of them" in failed.detail


def test_the_example_of_the_readme_works(tmp_path: Path) -> None:
    text, _ = re.findall(
        r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    plugin = found(tmp_path, premium=text).loaded["premium"].plugin
    fleet = Fleet(instance("big", region="fast"), instance("small"), hot=("big", "small"))
    strategy = plugin(plugin.Options(paying="gold"), fleet.settings.instances)
    pays = strategy.rank(FakeAsked(headers={"X-Plan": "gold"}), fleet.candidates)
    assert pays == (("big",), ("small",), "who pays", None, None)
    other = strategy.rank(FakeAsked(), fleet.candidates)
    assert isinstance(other, Ranking)
    assert other.order == ("small",)
