"""`depends_on` over all services: each exists, there is no circle, and how long the waits add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hestia.config.check import Checker
from hestia.config.errors import nearest
from hestia.config.tree import Node
from hestia.core.model import ServiceId, ServiceSettings

Services = dict[ServiceId, ServiceSettings]


def with_dependencies(
    checker: Checker, services: Services, homes: Mapping[str, Mapping[str, Node]]
) -> Services:
    """The services with what waiting for others may take. homes: service → its nodes by key."""
    before = len(checker.problems)
    for name, settings in services.items():
        for at, needed in enumerate(settings.depends_on):
            if needed in services or (needed in homes and before):  # what is wrong with it was said
                continue
            node = homes[name]["depends_on"]
            item = node.value[at] if isinstance(node.value, list) and at < len(node.value) else node
            shown = item.quoted(repr(str(needed)))
            checker.add(
                item,
                f"services.{name}.depends_on[{at}]",
                f"the service {shown} has no base_url" if needed in homes else f"there is no service {shown}",
                nearest="" if needed in homes else nearest(needed, list(homes)),
                remedy="write its base_url" if needed in homes else "name a service of this configuration",
            )
    circle = _circle(services)
    if circle:
        first = circle[0]
        checker.add(
            homes[first]["depends_on"],
            f"services.{first}.depends_on",
            f"needs itself in the end: {' → '.join([*circle, first])}",
            remedy="take one of these out",
        )
    if checker.problems:
        return services
    return {
        name: replace(one, dependency_wait=_wait(one, services)) if one.depends_on else one
        for name, one in services.items()
    }


def _circle(services: Services) -> list[ServiceId]:
    """The services of one circle in their order; empty where there is none."""
    done: set[ServiceId] = set()
    for begin in services:
        path: list[ServiceId] = []
        stack = [(begin, iter(services[begin].depends_on))]
        while stack:
            name, rest = stack[-1]
            if len(path) < len(stack):
                path.append(name)
            following = next((one for one in rest if one in services and one not in done), None)
            if following is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif following in path:
                return path[path.index(following) :]
            else:
                stack.append((following, iter(services[following].depends_on)))
    return []


def _wait(settings: ServiceSettings, services: Services) -> float:
    """Seconds that the longest chain of starts before its own may take."""
    longest, level, depth = 0.0, [(0.0, name) for name in settings.depends_on], 0
    while level and depth < len(services):
        following: dict[ServiceId, float] = {}
        for so_far, name in level:
            one = services[name]
            total = so_far + one.start_timeout + one.stop_grace
            longest = max(longest, total)
            for needed in one.depends_on:
                following[needed] = max(following.get(needed, 0.0), total)
        level, depth = [(total, name) for name, total in following.items()], depth + 1
    return longest
