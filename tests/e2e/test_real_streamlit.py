"""A Streamlit app at its own host name: page, static files, and a slider moved over its WebSocket."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.e2e.conftest import need_module
from tests.e2e.served import serving

pytestmark = [pytest.mark.e2e, pytest.mark.gradio, pytest.mark.slow]

PROGRAMS = Path(__file__).parent / "programs"
HOST = "squares.localhost"


async def test_page_static_files_and_a_slider_moved_over_the_websocket(
    tmp_path: Path, real_python: str
) -> None:
    """The page wakes it; each position of the slider is a run of the script on the server."""
    need_module(real_python, "streamlit")
    command = [real_python, "-m", "streamlit", "run", str(PROGRAMS / "streamlit_app.py")]
    command += ["--server.port", "{port}", "--server.address", "127.0.0.1", "--server.headless", "true"]
    service = {
        "engine": {"type": "process", "command": command, "env": {"HOME": str(tmp_path)}},
        "health_url": "http://127.0.0.1:{port}/_stcore/health",
        "start_timeout": "60s",
    }
    async with serving(tmp_path / "gateway", {"services": {"squares": service}}) as served:
        page = await served.get("/", host=HOST)
        assert "<title>Streamlit</title>" in page.text
        files = re.findall(r'(?:src|href)="\.(/static/[^"]+)"', page.text)
        assert any(path.endswith(".js") for path in files), page.text
        for path in files:
            assert (await served.get(path, host=HOST)).content
        client = await asyncio.create_subprocess_exec(
            real_python,
            str(PROGRAMS / "streamlit_client.py"),
            str(served.port),
            HOST,
            *("7", "40"),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(90):
            said, _ = await client.communicate()
        texts = [json.loads(line) for line in said.splitlines()]
        assert texts == ["square is 9", "square is 49", "square is 1600"]
        assert served.transitions("squares") == ["starting", "hot"]
