"""The stand-in as a program, for tests whose gateway is another process: one line of JSON, then it serves.

`POST /stand-in/fault`, `/stand-in/lift` and `GET /stand-in/calls` do from outside what a test does to a
stand-in in its own process; HUP restarts the server that it stands for, and then prints a line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
from pathlib import Path

from .ansible import AnsiblePlay
from .control import Controlled
from .plays import Play, fails, hangs, succeeds
from .scene import LOCAL, furnish
from .versions import VERSIONS

PLAYS: dict[str, Play] = {"success": succeeds("done"), "error": fails("failed"), "hang": hangs("waits")}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.semaphore", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--version", choices=VERSIONS, default="2.10")
    parser.add_argument("--tick", type=float, help="seconds between two starts (default: the version's own)")
    parser.add_argument("--web-root", default="", help="path of the public address, such as /semaphore")
    parser.add_argument("--template", action="append", help="name of a template that runs NAME.yml; repeat")
    parser.add_argument(
        "--playbooks", type=Path, help="folder of real playbooks; without it plays are scripted"
    )
    parser.add_argument("--inventory", type=Path, help="inventory file (default: this machine, local)")
    parser.add_argument("--ansible", default=shutil.which("ansible-playbook"), help="ansible-playbook's path")
    parser.add_argument("--play", choices=PLAYS, default="success", help="what a scripted play does")
    found = parser.parse_args()
    if found.playbooks is not None and found.ansible is None:
        parser.error("ansible-playbook is not on the PATH; --ansible names it")
    return found


async def _serve(options: argparse.Namespace) -> None:
    version = VERSIONS[options.version]
    real = None if options.playbooks is None else AnsiblePlay(options.ansible, version)
    tick = version.tick if options.tick is None else options.tick
    server = Controlled(
        version, tick=tick, play=real or PLAYS[options.play], web_root=options.web_root, port=options.port
    )
    inventory = LOCAL if options.inventory is None else options.inventory.read_text()
    playbooks = "/playbooks" if options.playbooks is None else str(options.playbooks.absolute())
    scene = furnish(server.world, *(options.template or ()), playbooks=playbooks, inventory=inventory)
    ended = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, ended.set)
    async with server, asyncio.TaskGroup() as group:
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: group.create_task(_restart(server), name="restart")
        )
        told = {
            "url": server.url,
            "token": scene.token,
            "admin_token": scene.admin_token,
            "project_id": scene.project.id,
            "project": scene.project.name,
            "templates": scene.templates,
        }
        print(json.dumps(told), flush=True)
        await ended.wait()


async def _restart(server: Controlled) -> None:
    await server.restart()
    print("restarted", flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
