"""What was last seen of each instance's tasks, for people and for the status; nothing is decided from it."""

from __future__ import annotations

from typing import Final

from hestia.core.model import InstanceId, ServiceId
from hestia.core.ports import Automation, AutomationTask
from hestia.engines.semaphore.tasks import Task

PROVIDER: Final = "semaphore"


class Seen:
    """The task under way and the last that ended, by instance."""

    def __init__(self) -> None:
        self._current: dict[tuple[ServiceId, InstanceId], Task] = {}
        self._last: dict[tuple[ServiceId, InstanceId], Task] = {}

    def note(self, service: ServiceId, instance: InstanceId, task: Task) -> None:
        """A state of one task."""
        place = service, instance
        current, last = self._current.get(place), self._last.get(place)
        if not task.is_over:
            if last is None or last.id != task.id:
                self._current[place] = task
            return
        if current is not None and current.id == task.id:
            del self._current[place]
        if last is None or last.id == task.id or task.age[0] >= last.age[0]:
            self._last[place] = task

    def of(self, service: ServiceId, instance: InstanceId) -> Automation:
        """As it is shown."""
        place = service, instance
        return Automation(
            provider=PROVIDER,
            current_task=_shown(self._current.get(place)),
            last_task=_shown(self._last.get(place)),
        )


def _shown(task: Task | None) -> AutomationTask | None:
    if task is None:
        return None
    lasted = (task.end - task.start).total_seconds() if task.start and task.end else None
    return AutomationTask(
        task_id=str(task.id),
        status=task.status,
        template_id=str(task.template),
        started_at=task.start,
        completed_at=task.end,
        duration=lasted,
    )
