"""Whether anything grows: a mixed load on a real `hestia serve`, and what the process held meanwhile.

    python -m benchmarks.soak --minutes 60

Samples resident memory, descriptors, threads and the gateway's own counts every few seconds. Ends with a
verdict, a plot (soak.svg) and a section at the end of RESULTS.md. The load is moderate on purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import soak_load, soak_plot
from benchmarks.programs import TICKS, Program, free_port, http_status, start

HERE = Path(__file__).resolve().parent
SERVICE = HERE / "servers" / "soak_service.py"
MIB = 2**20
GROWTH = 4 * MIB  # what the medians of two quarters may differ by: the noise of two quiet runs
REST = 150.0  # seconds until idle connections and services are gone; the longest of the defaults is 60


@dataclass(frozen=True, slots=True)
class Sample:
    """What the gateway held at one instant. seconds: since the load began; memory in bytes."""

    seconds: float
    memory: int
    descriptors: int
    threads: int
    in_flight: int
    queued: int
    hot: int


class Soak:
    """One run: the gateway, its service, the samples so far."""

    def __init__(self, folder: Path, raw: Path) -> None:
        self.folder, self.raw = folder, raw
        self.samples: list[Sample] = []
        self.steady_port, self.port = free_port(), free_port()
        self.programs: list[Program] = []
        self.began = time.monotonic()

    def start(self) -> None:
        """The steady service, then the gateway with it and with two that nap."""
        command = [sys.executable, str(SERVICE)]
        nap = {
            "engine": {"type": "process", "command": [*command, "{port}"]},
            "health_url": "http://127.0.0.1:{port}/small",
            "idle_timeout": "3s",
        }
        services = {"steady": {"base_url": f"http://127.0.0.1:{self.steady_port}"}}
        services |= dict.fromkeys(soak_load.NAPS, nap)  # type: ignore[arg-type]  # JSON of two shapes
        config = self.folder / "hestia_config.yml"
        config.write_text(json.dumps({"services": services}))  # JSON is YAML
        self.programs.append(
            start("steady", [*command, str(self.steady_port)], port=self.steady_port, folder=self.folder)
        )
        serve = [
            sys.executable,
            "-m",
            "hestia.cli",
            "serve",
            "--config",
            str(config),
            "--port",
            str(self.port),
        ]
        env = {"HESTIA_ENV_SERVICES": "off", "HESTIA_STATE_DIR": str(self.folder / "state")}
        path = f"{soak_load.STEADY}/small"
        self.programs.append(start("gateway", serve, port=self.port, folder=self.folder, path=path, env=env))

    def end(self) -> None:
        for program in reversed(self.programs):
            program.end()

    @property
    def pid(self) -> int:
        return self.programs[-1].process.pid

    def cpu(self) -> float:
        """Seconds of CPU that the gateway itself has used."""
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS

    def look(self) -> Sample:
        """Take one sample and store it, so that a run that is broken off is not lost."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
        )
        _, body = http_status(self.port, "/v1/services")
        services = json.loads(body)
        sample = Sample(
            seconds=round(time.monotonic() - self.began, 1),
            memory=int(status["VmRSS"].split()[0]) * 1024,
            descriptors=len(os.listdir(f"/proc/{self.pid}/fd")),
            threads=int(status["Threads"]),
            in_flight=sum(int(one["inFlight"]) for one in services),
            queued=sum(int(one["queuePending"]) for one in services),
            hot=sum(one["phase"] == "hot" for one in services),
        )
        with self.raw.open("a") as stream:
            stream.write(json.dumps(asdict(sample)) + "\n")
        return sample

    async def rest(self, until: Sample | None = None) -> Sample:
        """Wait until nothing is in flight, the naps sleep and descriptors are back; a sample."""
        deadline = time.monotonic() + REST
        while True:
            seen = await asyncio.to_thread(self.look)
            quiet = seen.in_flight == seen.queued == 0 and seen.hot <= 1
            if quiet and (until is None or seen.descriptors <= until.descriptors):
                return seen
            if time.monotonic() > deadline:
                return seen
            await asyncio.sleep(1)


def verdict(
    before: Sample, samples: Sequence[Sample], after: Sample, failed: int
) -> list[tuple[str, str, bool]]:
    """What was judged: name, figures, whether it is well."""
    quarter = max(1, len(samples) // 4)
    second, last = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
    early, late = (statistics.median(one.memory for one in part) for part in (second, last))
    return [
        (
            "resident, second → last quarter",
            f"{early / MIB:.1f} → {late / MIB:.1f} MiB",
            late - early <= GROWTH,
        ),
        (
            "descriptors, before → after",
            f"{before.descriptors} → {after.descriptors}",
            after.descriptors <= before.descriptors,
        ),
        (
            "threads at most, second → last quarter",  # a pool makes its threads when they are first needed
            f"{most(second)} → {most(last)}",
            most(last) <= most(second),
        ),
        (
            "in flight and queued after",
            f"{after.in_flight} and {after.queued}",
            after.in_flight == after.queued == 0,
        ),
        ("exchanges that went wrong", str(failed), failed == 0),
    ]


def most(samples: Sequence[Sample]) -> int:
    """The most threads of these."""
    return max(one.threads for one in samples)


async def soak(run: Soak, seconds: float, interval: float) -> tuple[list[str], bool]:
    """The whole run. Returns its report as lines of Markdown, and whether all is well."""
    load = soak_load.Load(run.port)
    for exchange, _, _ in soak_load.MIX:  # one of each first, so that what is made once counts as "before"
        await load.once(exchange)
    before = await run.rest()
    run.began, cpu = time.monotonic(), run.cpu()
    asking = asyncio.create_task(load.run())  # noqa: TID251  # ends below, in this function
    try:
        while time.monotonic() - run.began < seconds and not asking.done():
            run.samples.append(await asyncio.to_thread(run.look))
            await asyncio.sleep(interval)
        used = (run.cpu() - cpu) / (time.monotonic() - run.began)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    after = await run.rest(before)
    judged = verdict(before, run.samples, after, load.failed.total())
    lines = [f"- exchanges: {', '.join(f'{count} {kind}' for kind, count in load.done.most_common())}"]
    lines += [
        f"- CPU of the gateway: {used:.1%} of a core",
        "",
        "| measured | found | verdict |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {found} | {'well' if well else '**not well**'} |" for name, found, well in judged]
    lines += ["", *(f"- wrong {count} times: {what}" for what, count in load.failed.most_common(10))]
    return lines, all(well for _, _, well in judged)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Does anything grow?")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--interval", type=float, default=5, help="seconds between two samples")
    parser.add_argument("--no-store", action="store_true", help="print only: no plot, no section")
    return parser.parse_args()


def main() -> int:
    """Run, print, store. 0 when all is well."""
    options = read_options()
    (HERE / "out").mkdir(exist_ok=True)
    began = datetime.now(UTC)
    raw = HERE / "out" / f"soak-{began:%Y%m%dT%H%M%SZ}.jsonl"
    with tempfile.TemporaryDirectory(prefix="hestia-soak-") as folder:
        run = Soak(Path(folder), raw)
        try:
            run.start()
            lines, well = asyncio.run(soak(run, options.minutes * 60, options.interval))
        finally:
            run.end()
    head = [f"## Soak of {options.minutes:g} minutes, {began:%Y-%m-%d %H:%M} UTC", ""]
    section = "\n".join([*head, *lines]).rstrip() + "\n"
    print(section)
    if not options.no_store:
        plot = HERE / "soak.svg"
        plot.write_text(soak_plot.draw([asdict(one) for one in run.samples]))
        with (HERE / "RESULTS.md").open("a") as stream:
            stream.write(f"\n{section}\n![what the gateway held](soak.svg)\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
