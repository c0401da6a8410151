"""Which interpreter has the real servers, and what happens where it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE_CLIENTS = Path(__file__).parent / "clients" / "node" / "clients.mjs"


@pytest.fixture(scope="session")
def real_python() -> str:
    """Interpreter of the environment with the real servers (HESTIA_E2E_PYTHON, else .venv-e2e)."""
    found = os.environ.get("HESTIA_E2E_PYTHON") or str(ROOT / ".venv-e2e" / "bin" / "python")
    if not os.access(found, os.X_OK):
        missing(f"{found} cannot be run; .ci/run makes it, HESTIA_E2E_PYTHON names another one")
    return found


def need_module(python: str, module: str) -> None:
    """Skip the test, or fail where everything is required, when a module of the real servers is missing."""
    if not has_module(python, module):
        missing(f"{python} has no module {module}; see tests/e2e/requirements.txt")


def tiny_llm() -> Path:
    """The program that is a real llama.cpp server (HESTIA_TINY_LLM, else beside the repository)."""
    found = Path(os.environ.get("HESTIA_TINY_LLM") or ROOT.parent / "shared" / "tools" / "tiny_llm.py")
    if not found.is_file():
        missing(f"{found} is not there; HESTIA_TINY_LLM names another place")
    return found


def node() -> str:
    """Node, whose packages for the clients are installed."""
    if not (NODE_CLIENTS.parent / "node_modules").is_dir():
        missing(f"the packages of {NODE_CLIENTS.parent} are missing; tests/e2e/install.sh gets them")
    return tool("node")


def tool(name: str) -> str:
    """A program on the PATH."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not installed; tests/e2e/install.sh gets it")
    return str(found)


def missing(what: str) -> None:
    """Skip with this reason; with HESTIA_TEST_REQUIRE_ALL=1 (as in CI) fail with it."""
    if os.environ.get("HESTIA_TEST_REQUIRE_ALL") == "1":
        pytest.fail(what)
    pytest.skip(what)


@cache
def has_module(python: str, module: str) -> bool:
    """Whether an interpreter has a module."""
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", look], check=False, timeout=60).returncode == 0
