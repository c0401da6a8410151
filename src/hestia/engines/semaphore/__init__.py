"""The engine `semaphore`: services that playbooks of an Ansible Semaphore start and stop.

One module per family of its interface (`projects`, `templates`, `tasks`, `events`) on one `connection`; what
the engine does with them is in `start`, `stop`, `follow` and `engine`. Source: semaphore-api.md.
"""

from hestia.engines.semaphore.engine import SemaphoreEngine

__all__ = ["SemaphoreEngine"]
