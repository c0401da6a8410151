"""All numbers of the gateway at one moment, as families of the catalogue. What it shows, it never keeps.

Owns where each number comes from: counted ones from `traffic`, `lives` and `engines`, present ones from the
world and from whatever `app` hands in. Looking costs the same however many services are configured: only
those that were ever used have series (OB-04).
"""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import psutil

from hestia.core.lifecycle import State
from hestia.core.model import ServiceId
from hestia.core.records import ServiceRecord
from hestia.telemetry.batches import Batches, Reader
from hestia.telemetry.catalogue import CATALOGUE, Family
from hestia.telemetry.engines import EngineCalls
from hestia.telemetry.lag import LoopLag
from hestia.telemetry.lives import Lives
from hestia.telemetry.numbers import Counter, Histogram
from hestia.telemetry.strategies import StrategyErrors
from hestia.telemetry.traces import TraceCounts
from hestia.telemetry.traffic import NOWHERE, Cell, Traffic

Labels = tuple[str, ...]
Value = Counter | Histogram | float
Points = list[tuple[Labels, Value]]
Gauge = Callable[[], Mapping[str, float]]  # the value of its one label → number; "" where it has none


class Metrics:
    """Counts everything and reads it; see the module docstring.

    readers: further readers of the records of requests. interval: seconds between two calls of `lag.look`.
    clock: loop-clock seconds.
    """

    def __init__(
        self,
        *readers: Reader,
        version: str,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.traffic = Traffic()
        self.lives = Lives(clock)
        self.calls = EngineCalls()
        self.strategies = StrategyErrors()
        self.traces = TraceCounts()
        self.lag = LoopLag(interval)
        self.batches = Batches(self.traffic, *readers)
        self._clock = clock
        self._version = version
        self._services: Callable[[], Mapping[ServiceId, ServiceRecord]] = dict
        self._gauges: Mapping[str, Gauge] = {}
        self._reserved: dict[Labels, float] = {}  # by machine and resource, as it was read last
        self._waiting: dict[Labels, float] = {}  # by machine

    def watch(
        self, services: Callable[[], Mapping[ServiceId, ServiceRecord]], gauges: Mapping[str, Gauge]
    ) -> None:
        """Read these, too, whenever somebody looks. services: the world's records. gauges: by name."""
        self._services = services
        self._gauges = gauges

    def cells(self) -> Mapping[tuple[str, str, str, str], Cell]:
        """Requests that ended by now, by service, method, class of status and route template."""
        self.batches.hand_on()
        return self.traffic.cells

    def families(self) -> Iterator[tuple[Family, Points]]:
        """Every metric that has a series, in the order of the catalogue."""
        found: dict[str, Points] = {}
        for part in (self._requests(), self._life(), self._used(), self._room(), self._own(), _process()):
            found.update(part)
        for name, family in CATALOGUE.items():
            if points := found.get(name):
                yield family, points

    # -- where they come from ------------------------------------------------------------------

    def _requests(self) -> dict[str, Points]:
        ours: dict[Labels, list[Cell]] = {}
        to_services: dict[Labels, list[Cell]] = {}
        by_service: dict[Labels, list[Cell]] = {}
        for (service, method, status, path), cell in self.cells().items():
            if not service and path != NOWHERE:
                ours.setdefault((method, path, status), []).append(cell)
            else:
                to_services.setdefault((service, method, status), []).append(cell)
                by_service.setdefault((service,), []).append(cell)
        traffic = self.traffic
        return {
            "hestia_requests_total": _summed(to_services, lambda cell: cell.count),
            "hestia_request_duration_seconds": _merged(to_services),
            "hestia_request_bytes_total": _summed(by_service, lambda cell: cell.bytes_in),
            "hestia_response_bytes_total": _summed(by_service, lambda cell: cell.bytes_out),
            "hestia_api_requests_total": _summed(ours, lambda cell: cell.count),
            "hestia_api_request_duration_seconds": _merged(ours),
            "hestia_request_errors_total": list(traffic.errors.items()),
            "hestia_requests_aborted_total": list(traffic.aborted.items()),
            "hestia_retries_total": _alone(traffic.retries),
            "hestia_fallbacks_total": _alone(traffic.fallbacks),
            "hestia_queue_wait_seconds": _alone(traffic.waits),
            "hestia_strategy_errors_total": list(self.strategies.errors.items()),
        }

    def _life(self) -> dict[str, Points]:
        lives, calls = self.lives, self.calls
        return {
            "hestia_starts_total": list(lives.starts.items()),
            "hestia_start_failures_total": list(lives.failures.items()),
            "hestia_stops_total": list(lives.stops.items()),
            "hestia_stop_failures_total": list(lives.stop_failures.items()),
            "hestia_adoptions_total": list(lives.adoptions.items()),
            "hestia_cold_start_seconds": _alone(lives.took),
            "hestia_evictions_total": _alone(lives.evictions),
            "hestia_watchdog_released_total": _alone(lives.released),
            "hestia_cold_start_stage_seconds": list(lives.stages.items()),
            "hestia_engine_call_seconds": list(calls.took.items()),
            "hestia_engine_errors_total": list(calls.errors.items()),
        }

    def _used(self) -> dict[str, Points]:
        """What services that were ever used do now."""
        now, services = self._clock(), self._services()
        rows: dict[str, Points] = {}
        for name in self.lives.seen:
            record = services.get(ServiceId(name))
            if record is None:
                continue
            slots = list(record.slots.values())
            first = record.queue.first
            uses = [slot.use for slot in slots if slot.use is not None]
            numbers: dict[str, Value] = {
                "hestia_queue_waiters": float(len(record.queue)),
                "hestia_queue_oldest_waiter_seconds": max(0.0, now - first.arrived) if first else 0.0,
                "hestia_requests_in_flight": float(sum(use.open for use in uses)),
                "hestia_websockets_open": float(sum(use.sockets for use in uses)),
            }
            over = self.lives.hot.get(name) or Counter()
            hot = [now - slot.record.since for slot in slots if slot.state is State.HOT]
            if hot or over.value:
                at = time.time() if hot else over.at
                numbers["hestia_hot_seconds_total"] = Counter(over.value + sum(hot), at)
            for metric, number in numbers.items():
                rows.setdefault(metric, []).append(((name,), number))
            states = [slot.state for slot in slots]
            for state in State:
                rows.setdefault("hestia_instances", []).append(((name, state), float(states.count(state))))
        return rows

    def _room(self) -> dict[str, Points]:
        """What machines hold. A series that was there stays, at nothing."""
        reserved, waiting = dict.fromkeys(self._reserved, 0.0), dict.fromkeys(self._waiting, 0.0)
        services = self._services()
        for record in (services.get(ServiceId(name)) for name in self.lives.seen):
            for slot in record.slots.values() if record is not None else ():
                if (held := slot.reservation) is not None:
                    for resource, amount in held.takes.items():
                        place = (held.machine, resource)
                        reserved[place] = reserved.get(place, 0.0) + amount
                if slot.seek is not None:
                    machine = (slot.settings.machine,)
                    waiting[machine] = waiting.get(machine, 0.0) + 1.0
        self._reserved, self._waiting = reserved, waiting
        return {
            "hestia_machine_reserved": list(reserved.items()),
            "hestia_room_waiting": list(waiting.items()),
        }

    def _own(self) -> dict[str, Points]:
        sent, dropped = self.traces.sent, self.traces.dropped
        rows: dict[str, Points] = {
            "hestia_traces_sent_total": [((), sent)] if sent.at else [],
            "hestia_traces_dropped_total": [((reason,), one) for reason, one in list(dropped.items())],
            "hestia_loop_lag_seconds": [((), self.lag.histogram)] if self.lag.histogram.count else [],
            "hestia_build_info": [((self._version, platform.python_version()), 1.0)],
        }
        for name, read in self._gauges.items():
            rows[name] = [((label,) if label else (), float(number)) for label, number in read().items()]
        return rows


def _alone(numbers: Mapping[str, Counter] | Mapping[str, Histogram]) -> Points:
    return [((key,), number) for key, number in numbers.items()]


def _summed(cells: Mapping[Labels, Iterable[Cell]], number: Callable[[Cell], float]) -> Points:
    return [
        (labels, Counter(sum(map(number, group)), max(cell.at for cell in group)))
        for labels, group in cells.items()
    ]


def _merged(cells: Mapping[Labels, list[Cell]]) -> Points:
    return [
        (labels, group[0] if len(group) == 1 else Histogram.merged(group)) for labels, group in cells.items()
    ]


def _process() -> dict[str, Points]:
    process = psutil.Process()
    with process.oneshot():
        cpu, memory = process.cpu_times(), process.memory_info()
        numbers: dict[str, Value] = {
            "process_cpu_seconds_total": Counter(cpu.user + cpu.system, time.time()),
            "process_resident_memory_bytes": float(memory.rss),
            "process_virtual_memory_bytes": float(memory.vms),
            "process_start_time_seconds": process.create_time(),
            "process_open_fds": float(process.num_fds()),
            "process_max_fds": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        }
    return {name: [((), number)] for name, number in numbers.items()}
