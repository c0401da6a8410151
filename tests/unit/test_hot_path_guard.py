"""The path of a request does not grow unnoticed: what it executes is counted against a stored figure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import guard

ROOT = Path(__file__).resolve().parents[2]
KEPT = {"GET": {"calls": 100.0, "instructions": 3000.0}}
DISTURBING = ("COV", "PYTHONOPTIMIZE", "PYTHONASYNCIODEBUG", "PYTHONDEVMODE")  # they change what is executed


def test_the_hot_path_executes_no_more_than_is_on_record() -> None:
    """In a process of its own, where nobody else traces and no other test has changed anything."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(DISTURBING)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.guard"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    if guard.NOT_STORED in done.stdout:
        pytest.skip(f"benchmarks/guard.json has no figures for Python {guard.PYTHON}")


def test_growth_beyond_the_margin_is_named_with_both_figures() -> None:
    said = guard.grown({"GET": {"calls": 103.0, "instructions": 3000.0}}, KEPT)
    assert said == ["GET: calls grew from 100 to 103 (+3.0%)"]


def test_growth_within_the_margin_and_gains_pass() -> None:
    assert guard.grown({"GET": {"calls": 102.0, "instructions": 1000.0}}, KEPT) == []


def test_a_new_row_needs_a_figure() -> None:
    said = guard.grown({"GET": {"calls": 100.0, "instructions": 3000.0, "writes": 2.0}}, KEPT)
    assert said == ["GET: writes has no stored figure, now 2"]
