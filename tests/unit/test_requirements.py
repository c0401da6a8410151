"""What the documentation must say, and that the map from requirement to test can be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROXY = (ROOT / "docs" / "proxy.md").read_text()


def test_pr_10_it_is_said_that_services_by_prefix_share_one_origin() -> None:
    assert "one origin" in PROXY


def test_ho_10_it_is_said_who_finds_localhost_names_by_itself() -> None:
    assert "Browsers and curl know" in PROXY
    assert "/etc/hosts" in PROXY


def test_the_map_answers_for_one_id() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "requirements.py"), "CP-08"]
    told = subprocess.run(script, capture_output=True, text=True, check=False).stdout
    assert told.startswith("CP-08 MUST")
    assert "integration/test_pool_ends.py::test_t_cp_09" in told
