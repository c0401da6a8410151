"""Runs the client programs of the end-to-end tests and gives what they wrote."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

PATIENCE = 110  # seconds; a program that takes longer is ended


async def run(*words: str | Path, timeout: float = PATIENCE) -> str:
    """What a program writes to standard output; it has to end well, and is gone whatever happens."""
    # A proxy of the machine must not stand between a client and the gateway on 127.0.0.1.
    env = {name: text for name, text in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *map(str, words),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, (words, process.returncode, err.decode()[-4000:])
    return out.decode()
