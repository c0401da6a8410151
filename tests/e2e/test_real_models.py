"""Three real llama.cpp servers behind one address: the openai client's model decides which of them wakes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import need_module, tiny_llm
from tests.e2e.served import Served, serving

pytestmark = [pytest.mark.e2e, pytest.mark.llm, pytest.mark.slow]

CLIENT = Path(__file__).parent / "programs" / "openai_client.py"


async def client(python: str, served: Served, *arguments: str) -> list[Any]:
    """What the openai client told, a JSON document for each line (hence Any)."""
    process = await asyncio.create_subprocess_exec(
        python,
        str(CLIENT),
        f"{served.url}/services/llm/v1",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return [json.loads(line) for line in out.splitlines()]


async def phases(served: Served) -> dict[str, str]:
    return {one["id"]: one["phase"] for one in (await served.status("llm"))["instances"]}


async def test_each_model_wakes_its_own_server(tmp_path: Path, real_python: str) -> None:
    for module in ("openai", "xllamacpp", "gguf"):
        need_module(real_python, module)
    command = [real_python, str(tiny_llm()), "--port", "{port}", "--model", str(tmp_path / "tiny.gguf")]
    service = {
        "engine": {"type": "process", "command": command},
        "health_url": "http://127.0.0.1:{port}/health",
        "strategy": "model_router",
        "instances": [{"name": "small", "models": ["small"]}, {"name": "large"}, {"name": "any"}],
        "routing": {"by_model": {"large-*": "large"}, "aliases": {"gpt-4": "small"}, "merge_models": True},
    }
    async with serving(tmp_path / "gateway", {"services": {"llm": service}}) as served:
        assert await client(real_python, served, "models") == [["small"]], "as configured; nobody is woken"
        assert set((await phases(served)).values()) == {"cold"}
        assert (await client(real_python, served, "8", "small"))[-1] == {"end": "length"}
        assert await phases(served) == {"small": "hot", "large": "cold", "any": "cold"}
        assert (await client(real_python, served, "8", "large-7b"))[-1] == {"end": "length"}
        assert (await client(real_python, served, "8", "gpt-4"))[-1] == {"end": "length"}
        assert await phases(served) == {"small": "hot", "large": "hot", "any": "cold"}
        assert (await client(real_python, served, "8", "unheard-of"))[-1] == {"end": "length"}
        assert set((await phases(served)).values()) == {"hot"}
        ((*models,),) = await client(real_python, served, "models")
        assert len(models) == 1, "all three have the same file"
