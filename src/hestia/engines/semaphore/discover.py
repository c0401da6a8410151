"""What bears a gateway's id in the lists of tasks: the newest start of each instance, unless it was stopped.

The lists are bounded, so what is not found may be there all the same (AD-04): never complete.
"""

from __future__ import annotations

from collections import defaultdict

from hestia.core.errors import EngineError
from hestia.core.model import GatewayId, InstanceKey
from hestia.core.ports import Discovered, Found, Observed, Presence
from hestia.engines.knock import knock
from hestia.engines.semaphore.connection import Connection
from hestia.engines.semaphore.handle import START, STOP, Mark, Place, told_by
from hestia.engines.semaphore.options import SemaphoreOptions
from hestia.engines.semaphore.projects import Projects
from hestia.engines.semaphore.seen import Seen
from hestia.engines.semaphore.servers import Servers, project_of
from hestia.engines.semaphore.tasks import Task, Tasks
from hestia.engines.semaphore.templates import Templates
from hestia.engines.semaphore.work import standing

Marked = dict[InstanceKey, list[tuple[Task, Mark]]]


async def find_all(servers: Servers, owner: GatewayId, seen: Seen) -> Discovered:
    """Raises what the servers raise, when none of them answers."""
    asked: dict[tuple[object, ...], SemaphoreOptions] = {}
    for options in servers.known():
        asked.setdefault(_where(options), options)
    found: dict[InstanceKey, Found] = {}
    trouble: EngineError | None = None
    answered = False
    for options in asked.values():
        try:
            for one in await _find(servers.of(options), options, owner, seen):
                found[one.key] = one
            answered = True
        except EngineError as error:
            trouble = error
    if trouble is not None and not answered:
        raise trouble
    return Discovered(tuple(found.values()), complete=False)


def _where(options: SemaphoreOptions) -> tuple[object, ...]:
    return (
        options.base_url.rstrip("/"),
        project_of(options),
        options.start_template,
        options.api_key,
        options.username,
    )


async def _find(
    connection: Connection, options: SemaphoreOptions, owner: GatewayId, seen: Seen
) -> list[Found]:
    project = await Projects(connection).resolve(project_of(options))
    templates, tasks = Templates(connection, project), Tasks(connection, project)
    start = await templates.resolve(options.start_template, "semaphore_start_template_id")
    starts = _by_key(await tasks.last(start.id), owner, START)
    stops: Marked = defaultdict(list)
    for stop in {mark.stop for marked in starts.values() for _, mark in marked if mark.stop}:
        for key, marked in _by_key(await tasks.last(stop), owner, STOP).items():
            stops[key] += marked
    found = []
    for key in _newest_generations(starts):
        _show(seen, key, [*starts[key], *stops[key]])
        task = standing(_tasks(starts[key]), _tasks(stops[key]))
        if task is None:
            continue
        mark = next(mark for one, mark in starts[key] if one is task)
        place = Place(
            key=key,
            server=connection.base,
            project=project,
            start=start.id,
            stop=mark.stop,
            task=task.id,
            variables=told_by(task),
        )
        ending = any(stop.age[0] >= task.age[0] and not stop.is_over for stop in _tasks(stops[key]))
        observed = await _observe(place, task, ending=ending)
        if observed is not None:
            found.append(Found(key, place.handle(), mark.options_hash, observed))
    return found


def _by_key(tasks: list[Task], owner: GatewayId, action: str) -> Marked:
    """The tasks of ours that are for that."""
    found: Marked = defaultdict(list)
    for task in tasks:
        mark = Mark.of(task)
        if mark is not None and mark.key.gateway == owner and mark.action == action:
            found[mark.key].append((task, mark))
    return found


def _newest_generations(starts: Marked) -> list[InstanceKey]:
    """Of each instance the generation that was started last; older ones are superseded."""
    by_age = sorted(starts, key=lambda key: max(task.age for task, _ in starts[key]))
    return list({(key.service, key.instance): key for key in by_age}.values())


def _show(seen: Seen, key: InstanceKey, marked: list[tuple[Task, Mark]]) -> None:
    for task in sorted(_tasks(marked), key=lambda task: task.age):
        seen.note(key.service, key.instance, task)


def _tasks(marked: list[tuple[Task, Mark]]) -> list[Task]:
    return [task for task, _ in marked]


async def _observe(place: Place, task: Task, *, ending: bool) -> Observed | None:
    """What is known of a start that nobody stopped; None when nothing of it runs, or nobody can say."""
    if task.never_ran:
        return None
    is_there = ending or not task.is_over
    if not is_there and place.endpoint is not None:
        presence, _ = await knock(place.endpoint)
        is_there = presence is Presence.RUNNING
    if not is_there:
        return None
    return Observed(
        handle=place.handle(),
        presence=Presence.RUNNING,
        key=place.key,
        endpoint=place.endpoint,
        health_url=place.health_url,
        pending=not task.is_over,
        ending=ending,
    )
