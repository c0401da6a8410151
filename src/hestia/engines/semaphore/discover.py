"""What bears a gateway's id in the lists of tasks: the newest start of each instance, unless it was stopped.

The lists are bounded, so what is not found may be there all the same (AD-04): never complete.
"""

from __future__ import annotations

from hestia.core.errors import EngineError
from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
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

Marked = dict[InstanceKey, tuple[Task, Mark]]


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
    newest = _newest_of_places(_newest(await tasks.last(start.id), owner, START))
    stops: Marked = {}
    for stop in {mark.stop for _, mark in newest.values() if mark.stop}:
        stops |= _newest(await tasks.last(stop), owner, STOP)
    found = []
    for key, (task, mark) in newest.items():
        seen.note(key.service, key.instance, task)
        stopped, _ = stops.get(key, (None, mark))
        if stopped is not None:
            seen.note(key.service, key.instance, stopped)
            if stopped.status == "success" and stopped.age[0] >= task.age[0]:
                continue
        place = Place(
            key=key,
            server=connection.base,
            project=project,
            start=start.id,
            stop=mark.stop,
            task=task.id,
            variables=told_by(task),
        )
        observed = await _observe(place, task)
        if observed is not None:
            found.append(Found(key, place.handle(), mark.options_hash, observed))
    return found


def _newest_of_places(starts: Marked) -> Marked:
    """Of each instance the newest generation; older ones are superseded."""
    places: dict[tuple[ServiceId, InstanceId], InstanceKey] = {}
    for key, (task, _) in starts.items():
        other = places.get((key.service, key.instance))
        if other is None or task.age > starts[other][0].age:
            places[key.service, key.instance] = key
    return {key: starts[key] for key in places.values()}


def _newest(tasks: list[Task], owner: GatewayId, action: str) -> Marked:
    """The newest task of each key of ours."""
    found: Marked = {}
    for task in tasks:
        mark = Mark.of(task)
        if mark is None or mark.key.gateway != owner or mark.action != action:
            continue
        known = found.get(mark.key)
        if known is None or task.age > known[0].age:
            found[mark.key] = task, mark
    return found


async def _observe(place: Place, task: Task) -> Observed | None:
    """What is known of a start that nobody stopped; None when nothing of it runs, or nobody can say."""
    if task.never_ran:
        return None
    is_there = not task.is_over
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
    )
