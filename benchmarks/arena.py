"""What is compared: every peer that can be had here, their upstreams, all of it started and ended.

Owns processes and the report they belong to; what is asked of them is `parts`, `scale` and `cold`.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shlex
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import peers
from benchmarks.figures import CADDY, DIRECT, ENVOY, HAPROXY, HESTIA, NGINX, Row, mebi, milli
from benchmarks.programs import Program, ProgramFailed, free_port, start
from benchmarks.report import Report

HERE = Path(__file__).resolve().parent
LARGE = 1 << 30  # bytes
SMALL_BODY = "x" * 128


class Arena:
    """One run: its peers, the programs it started, its report.

    options: the command line. folder: of this run, temporary. timed: whether starts are measured.
    """

    def __init__(self, options: argparse.Namespace, folder: Path, *, timed: bool) -> None:
        self.options, self.folder, self.timed = options, folder, timed
        self.quick: bool = options.quick
        self.rounds = 3 if self.quick else 5
        self.round_seconds = 1.0 if self.quick else 2.0
        self.report = Report(notes=list(options.note))
        self.peers: list[peers.Peer] = []
        self.started: list[Program] = []
        self.proxies: dict[str, Program] = {}
        self.upstreams = peers.Upstreams(0, 0, 0)

    # -- what is compared --------------------------------------------------------------------------

    def find_peers(self) -> None:
        """Every peer that can be had here; the others become a note."""
        venv = HERE / "out" / "peers-venv"
        finders: dict[str, Callable[[], peers.Peer]] = {
            NGINX: peers.find_nginx,
            HAPROXY: peers.find_haproxy,
            ENVOY: lambda: peers.find_envoy(venv),
            CADDY: lambda: peers.find_caddy(venv),
            HESTIA: peers.find_hestia,
        }
        for name, find in finders.items():
            if self.options.peer and name not in self.options.peer:
                continue
            try:
                self.peers.append(find())
            except (peers.PeerMissing, OSError) as exc:
                self.missing(name, exc)

    def missing(self, who: str, why: object) -> None:
        """Say and store that something could not be measured."""
        said = str(why).replace(str(HERE.parent), "…").replace(str(self.folder), "…").strip().splitlines()
        self.report.notes.append(f"{who}: not measured; {said[0]} {said[-1] if len(said) > 1 else ''}"[:400])
        print(f"{who}: not measured: {why}", file=sys.stderr)

    def facts(self) -> None:
        """What this ran on."""
        model = next(
            (
                line.partition(":")[2].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if "model name" in line
            ),
            platform.machine(),
        )
        self.report.facts.update(
            {
                "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "command": shlex.join(["benchmarks/run", *sys.argv[1:]]),
                "machine": f"{os.cpu_count()} cores ({model}), Linux {platform.release()}",
                "load of the machine before": f"{os.getloadavg()[0]:.2f}",
                "versions": ", ".join(f"{peer.name} {peer.version}" for peer in self.peers),
                "load generator": peers.load_generator(),
            }
        )

    # -- programs ----------------------------------------------------------------------------------

    def start_upstreams(self) -> None:
        """nginx for small and large answers, own servers for streams, echoes and uploads."""
        folder = self.folder / "upstream"
        folder.mkdir()
        large = folder / "large"
        with large.open("wb") as stream:
            stream.truncate(LARGE)
        bench, live, sink = free_port(), free_port(), free_port()
        (folder / "nginx.conf").write_text(
            peers.nginx_base(folder)
            + f"  access_log off; sendfile on;\n  server {{ listen 127.0.0.1:{bench} backlog=4096;\n"
            f"    location = /large {{ alias {large}; }}\n    location / {{ return 200 '{SMALL_BODY}'; }}\n"
            "  }\n}\n"
        )
        nginx = peers.apt_install("nginx", "nginx")
        command = [nginx, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        self.started.append(start("upstream", command, port=bench, folder=folder, path="/small"))
        for name, port in (("live", live), ("sink", sink)):
            command = [sys.executable, str(HERE / "servers" / f"{name}_server.py"), str(port)]
            self.started.append(start(name, command, port=port, folder=folder))
        self.upstreams = peers.Upstreams(bench, live, sink)

    def start_proxies(self) -> None:
        """Start every peer a few times to time that, keep the last one running."""
        times = (2 if self.quick else 5) if self.timed else 1
        listens = Row("listens", "exec → listening", milli)
        answers = Row("answers", "exec → first proxied answer", milli)
        resident = Row("resident", "resident, idle", mebi)
        for peer in self.peers:
            samples = []
            try:
                for number in range(times):
                    program = peer.start(self.folder / f"{peer.name}-{number}", self.upstreams)
                    samples.append((program.listens_after, program.answers_after))
                    if number < times - 1:
                        program.end()
            except ProgramFailed as exc:
                self.missing(peer.name, exc)
                continue
            self.started.append(program)
            self.proxies[peer.name] = program
            listens.add(peer.name, [one for one, _ in samples])
            answers.add(peer.name, [one for _, one in samples])
            resident.add(peer.name, [program.resident()])
        if self.timed:
            for row in (listens, answers, resident):
                self.report.row(row)

    def end(self) -> None:
        """End what was started, last first."""
        for program in reversed(self.started):
            program.end()

    def targets(self, path: str, *, upstream: int = 0) -> Iterable[tuple[str, int, str, Program | None]]:
        """Each proxy, its port and path, in a new random order; direct among them with an `upstream`."""
        order: list[tuple[str, int, str, Program | None]] = [
            (name, one.port, path, one) for name, one in self.proxies.items()
        ]
        if upstream:
            order.append((DIRECT, upstream, "/" + path.rsplit("/", 1)[1], None))
        random.shuffle(order)
        return order
