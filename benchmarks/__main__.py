"""`benchmarks/run`: start everything, measure in interleaved rounds, store what was found, leave nothing."""

from __future__ import annotations

import argparse
import os
import platform
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cold, live, load, peers
from benchmarks.figures import (
    CADDY,
    DIRECT,
    ENVOY,
    HESTIA,
    NGINX,
    Row,
    count,
    mebi,
    mebi_per_second,
    micro,
    milli,
    share,
)
from benchmarks.programs import Program, ProgramFailed, free_port, start
from benchmarks.report import Report

HERE = Path(__file__).resolve().parent
PARTS = ("start", "cpu", "latency", "cold", "down", "streams", "echo")
LARGE = 1 << 30  # bytes
SMALL_BODY = "x" * 128


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/run", description="Measure Hestia against other proxies."
    )
    parser.add_argument("--quick", action="store_true", help="about a minute: shorter rounds, fewer of them")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure only this part; repeatable")
    parser.add_argument("--peer", action="append", choices=(NGINX, CADDY, ENVOY, HESTIA), help="only these")
    parser.add_argument("--no-store", action="store_true", help="print only; do not append to RESULTS.md")
    parser.add_argument("--seed", type=int, default=None, help="for the delays of the cold starts")
    parser.add_argument("--results", type=Path, default=HERE / "RESULTS.md", help="where to append")
    parser.add_argument("--note", action="append", default=[], help="a remark to store with the figures")
    return parser.parse_args()


class Run:
    """One run: its peers, the programs it started, its report."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.parts = options.only or PARTS
        self.rounds = 3 if options.quick else 5
        self.round_seconds = 1.0 if options.quick else 2.0
        self.report = Report(notes=list(options.note))
        self.peers: list[peers.Peer] = []
        self.started: list[Program] = []
        self.proxies: dict[str, Program] = {}
        self.upstreams = peers.Upstreams(0, 0)

    # -- what is compared --------------------------------------------------------------------------

    def find_peers(self) -> None:
        """Every peer that can be had here; the others become a note."""
        venv = HERE / "out" / "peers-venv"
        finders: dict[str, Callable[[], peers.Peer]] = {
            NGINX: peers.find_nginx,
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
        """nginx for small and large answers, an own server for streams and echoes."""
        folder = self.folder / "upstream"
        folder.mkdir()
        large = folder / "large"
        with large.open("wb") as stream:
            stream.truncate(LARGE)
        bench, live_port = free_port(), free_port()
        (folder / "nginx.conf").write_text(
            peers.nginx_base(folder)
            + f"  access_log off; sendfile on;\n  server {{ listen 127.0.0.1:{bench} backlog=4096;\n"
            f"    location = /large {{ alias {large}; }}\n    location / {{ return 200 '{SMALL_BODY}'; }}\n"
            "  }\n}\n"
        )
        nginx = peers.apt_install("nginx", "nginx")
        command = [nginx, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        self.started.append(start("upstream", command, port=bench, folder=folder, path="/small"))
        command = [sys.executable, str(HERE / "servers" / "live_server.py"), str(live_port)]
        self.started.append(start("live", command, port=live_port, folder=folder))
        self.upstreams = peers.Upstreams(bench, live_port)

    def start_proxies(self) -> None:
        """Start every peer a few times to time that, keep the last one running."""
        times = (2 if self.options.quick else 5) if "start" in self.parts else 1
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
            if "start" in self.parts:
                listens.add(peer.name, [one for one, _ in samples])
                answers.add(peer.name, [one for _, one in samples])
                resident.add(peer.name, [program.resident()])
        if "start" in self.parts:
            for row in (listens, answers, resident):
                self.report.row(row)

    def end(self) -> None:
        """End what was started, last first."""
        for program in reversed(self.started):
            program.end()

    # -- measuring ---------------------------------------------------------------------------------

    def targets(self, path: str, *, upstream: int = 0) -> Iterable[tuple[str, int, str, Program | None]]:
        """Each proxy, its port and path, in a new random order; direct among them with an `upstream`."""
        order: list[tuple[str, int, str, Program | None]] = [
            (name, one.port, path, one) for name, one in self.proxies.items()
        ]
        if upstream:
            order.append((DIRECT, upstream, "/" + path.rsplit("/", 1)[1], None))
        random.shuffle(order)
        return order

    def measure_cpu(self) -> None:
        """CPU per proxied small request at 32 connections."""
        cpu = self.report.row(Row("cpu", "CPU per small request, 32 connections", micro, ratio_to=NGINX))
        rate = self.report.row(Row("rate", "answers per second meanwhile", count))
        busy = self.report.row(Row("busy", "share of a core meanwhile", share))
        spent: dict[str, list[tuple[float, float, float]]] = {}
        for number in range(self.rounds + 1):  # the first only warms up
            for name, port, path, program in self.targets(peers.SMALL, upstream=self.upstreams.bench):
                before, began = program.cpu() if program else 0.0, time.monotonic()
                answered = load.many(port, path, self.round_seconds)
                took, used = time.monotonic() - began, (program.cpu() if program else 0.0) - before
                if number:
                    spent.setdefault(name, []).append((used / answered, answered / took, used / took))
        for name, samples in spent.items():
            if name != DIRECT:
                cpu.add(name, [one for one, _, _ in samples])
                busy.add(name, [one for _, _, one in samples])
            rate.add(name, [one for _, one, _ in samples])

    def measure_latency(self) -> None:
        """Time of a small request at one connection."""
        p50 = self.report.row(Row("latency_p50", "one connection, p50", micro))
        p99 = self.report.row(Row("latency_p99", "one connection, p99", micro))
        found: dict[str, list[tuple[float, float]]] = {}
        for number in range(self.rounds * 2 + 1):
            for name, port, path, _ in self.targets(peers.SMALL, upstream=self.upstreams.bench):
                took = load.one_by_one(port, path, 500 if self.options.quick else 2000)
                if number:
                    found.setdefault(name, []).append(
                        (load.percentile(took, 0.5), load.percentile(took, 0.99))
                    )
        for name, samples in found.items():
            p50.add(name, [one for one, _ in samples])
            p99.add(name, [one for _, one in samples])

    def measure_cold(self) -> None:
        """Ready → first byte."""
        if HESTIA not in self.proxies:
            return
        starts, seed = 8 if self.options.quick else 20, self.options.seed
        if seed is None:
            seed = random.randrange(10**6)
        found = cold.cold_starts(self.folder / "cold", starts, seed)
        self.report.facts["seed of the cold starts"] = str(seed)
        for key, ways, text in (
            ("cold_start", ("listen", "health"), f"ready → first byte, {starts} cold starts"),
            ("cold_listen", ("listen",), "· of them, refusing until ready"),
            ("cold_health", ("health",), "· of them, answering 503 until ready"),
        ):
            self.report.row(Row(key, text, milli)).add(HESTIA, [one.late for one in found if one.way in ways])

    def measure_down(self) -> None:
        """One large download."""
        rate = self.report.row(Row("down", "1 GiB down", mebi_per_second))
        cpu = self.report.row(Row("down_cpu", "· CPU for it", milli, ratio_to=NGINX))
        growth = self.report.row(Row("down_growth", "· memory growth", mebi))
        found: dict[str, list[tuple[float, float, float]]] = {}
        for _ in range(1 if self.options.quick else 3):
            for name, port, path, program in self.targets(
                f"{peers.BENCH}/large", upstream=self.upstreams.bench
            ):
                before, memory = (program.cpu(), program.resident()) if program else (0.0, 0)
                if program:
                    program.forget_peak()
                done = live.download(port, path)
                used, more = (program.cpu() - before, program.peak() - memory) if program else (0.0, 0)
                found.setdefault(name, []).append((done.size / done.seconds, used, more))
        for name, samples in found.items():
            rate.add(name, [one for one, _, _ in samples])
            if name != DIRECT:
                cpu.add(name, [one for _, one, _ in samples])
                growth.add(name, [max(more for _, _, more in samples)])

    def measure_streams(self) -> None:
        """500 token streams."""
        p50 = self.report.row(Row("stream_p50", "500 token streams, lateness p50", milli))
        p99 = self.report.row(Row("stream_p99", "· p99", milli))
        cpu = self.report.row(Row("stream_cpu", "· share of a core", share, ratio_to=NGINX))
        seconds = 3.0 if self.options.quick else 6.0
        for name, port, path, program in self.targets(f"{peers.LIVE}/stream", upstream=self.upstreams.live):
            before, began = program.cpu() if program else 0.0, time.monotonic()
            late = live.streams(port, path, seconds)
            took = time.monotonic() - began
            p50.add(name, [load.percentile(late, 0.5)])
            p99.add(name, [load.percentile(late, 0.99)])
            if program:
                cpu.add(name, [(program.cpu() - before) / took])

    def measure_echo(self) -> None:
        """WebSocket messages per CPU second."""
        row = self.report.row(Row("echo", "WebSocket echoes per CPU second", count, ratio_to=NGINX))
        found: dict[str, list[float]] = {}
        for number in range(2 if self.options.quick else 4):
            for name, port, path, program in self.targets(f"{peers.LIVE}/echo"):
                assert program is not None
                before = program.cpu()
                answered = live.echoes(port, path, self.round_seconds)
                if number:
                    found.setdefault(name, []).append(answered / (program.cpu() - before))
        for name, samples in found.items():
            row.add(name, samples)

    def measure(self) -> None:
        """All parts that were asked for. A part that fails becomes a note, the others go on."""
        for part in self.parts:
            if part == "start":
                continue
            print(f"measuring {part} …", file=sys.stderr)
            try:
                getattr(self, f"measure_{part}")()
            except (load.LoadFailed, ProgramFailed, OSError) as exc:
                self.missing(part, exc)


def main() -> int:
    """Exit code 0 when figures were stored, 1 when there is nothing to measure."""
    options = read_options()
    (HERE / "out").mkdir(exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hestia-bench-") as folder:
        run = Run(options, Path(folder))
        try:
            run.find_peers()
            run.facts()
            run.start_upstreams()
            run.start_proxies()
            run.measure()
        except (ProgramFailed, peers.PeerMissing) as exc:
            print(f"benchmarks/run: {exc}", file=sys.stderr)
            return 1
        finally:
            run.end()
    run.report.facts["took"] = f"{time.monotonic() - began:.0f} s"
    print(run.report.text())
    if not options.no_store:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        run.report.store(options.results, HERE / "out" / f"{stamp}.json")
        print(f"stored in {options.results} and {HERE / 'out' / stamp}.json", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
