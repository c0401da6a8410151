"""Prometheus' own judge: `promtool` over what a real gateway says, and over the queries of the board."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, missing
from tests.e2e.served import serving

pytestmark = pytest.mark.e2e

INSTALLED = Path(__file__).parent / "clients" / "prometheus" / "promtool"
BOARD = ROOT / "docs" / "grafana" / "hestia.json"


def promtool() -> str:
    """The program on the PATH, or where install.sh puts it."""
    found = str(INSTALLED) if os.access(INSTALLED, os.X_OK) else shutil.which("promtool")
    if found is None:
        missing("promtool is not installed; tests/e2e/install.sh gets it")
    return str(found)


def check(*words: str, said: str = "") -> None:
    """Run it; it must find nothing to say against."""
    done = subprocess.run(
        [promtool(), "check", *words], input=said, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr, said[-3000:])
    assert "error" not in done.stderr.lower(), done.stderr


async def test_ob_04_promtool_finds_nothing_wrong_with_the_page(tmp_path: Path) -> None:
    """OB-04, OB-16: after a cold start, a failed start, a stop and requests that were refused."""
    promtool()
    url = "http://127.0.0.1:{port}"
    files = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    broken = [sys.executable, "-c", "raise SystemExit(3)", "{port}"]
    services = {
        name: {"engine": {"type": "process", "command": command}, "base_url": url}
        for name, command in (("files", files), ("broken", broken))
    }
    async with serving(tmp_path, {"services": services}) as served:
        assert (await served.get("/services/files/")).status_code == 200
        assert (await served.http.get(f"{served.url}/services/broken/")).status_code >= 500
        assert (await served.http.get(f"{served.url}/services/nobody/")).status_code == 404
        assert (await served.http.request("BREW", f"{served.url}/services/files/")).status_code >= 400
        await served.http.post(f"{served.url}/v1/services/files/stop")
        await served.until_line("service_cold", "files")
        page = (await served.get("/metrics")).text
    for series in (
        'hestia_requests_total{service="files",method="GET",status="2xx"} 1\n',
        'hestia_start_failures_total{service="broken",code="',
        'hestia_stops_total{service="files",reason="api"} 1\n',
        'hestia_cold_start_seconds_count{service="files"} 1\n',
        'hestia_engine_call_seconds_count{engine="process",call="start"} 2\n',
    ):
        assert series in page, page
    check("metrics", said=page)


def test_the_queries_of_the_board_are_queries(tmp_path: Path) -> None:
    """Each as a rule, with what Grafana would fill in."""
    panels = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    filled = [query.replace("$__rate_interval", "5m").replace("$service", ".*") for query in queries]
    rules = [{"record": f"board:query:{number}", "expr": query} for number, query in enumerate(filled)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))  # JSON is YAML
    check("rules", str(file))
