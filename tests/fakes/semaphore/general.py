"""The family of the server itself: ping, what it is, its apps, its queue. Routes and nothing else."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from .records import Document
from .web import Call, Need, Route, done, plain, told

APPS: Final = {"ansible": 1000, "terraform": 900, "tofu": 800, "bash": 700, "powershell": 600, "python": 500}
ANSIBLE: Final = "ansible [core 2.19.0]\n  config file = None\n"


def ping(call: Call) -> Response:
    """Alive. Touches nothing."""
    return plain("pong")


def info(call: Call) -> Response:
    """What the server is. The web_host is its public address."""
    shown: Document = {
        "ansible": ANSIBLE,
        "use_remote_runner": False,
        "version": call.version.text,
        "web_host": call.settings.web_root,
    }
    if call.version.modern:
        paid = ("project_runners", "secret_storages", "task_summary", "terraform_backend")
        shown |= {
            "auth_methods": {},
            "git_client": "cmd_git",
            "premium_features": dict.fromkeys(paid, False),
            "schedule_timezone": "UTC",
        }
    return told(shown)


def apps(call: Call) -> Response:
    """What templates can run; `active` where the program is there."""
    look = {"title": "", "icon": "", "color": "", "dark_color": "", "path": "", "args": None}
    return told(
        [
            {"active": name == "ansible", "priority": priority, **look, "id": name}
            for name, priority in APPS.items()
        ]
    )


def queue(call: Call) -> Response:
    """What waits and what runs, over all projects."""
    waiting = [(task, "queue") for task in call.queue.waiting]
    running = [(run.task, "running") for run in call.queue.running.values()]
    shown = []
    for task, where in [*waiting, *running]:
        one: Document = {"task_id": task.id, "project_id": task.project_id}
        if call.version.modern:
            one["username"] = call.world.users[task.user_id].username
        shown.append(one | {"status": str(task.status), "location": where})
    return told(shown)


def stop(call: Call) -> Response:
    """A soft stop of something queued or running."""
    task = call.world.tasks.get(call.ids["task_id"])
    if task is not None:
        call.queue.stop(task, force=False)
    return done()


ROUTES: Final = [
    Route("GET", "/ping", ping, Need.NOTHING),
    Route("HEAD", "/ping", ping, Need.NOTHING),
    Route("GET", "/info", info, Need.USER),
    Route("GET", "/apps", apps, Need.USER),
    Route("GET", "/tasks", queue, Need.ADMIN),
    Route("DELETE", "/tasks/{task_id}", stop, Need.ADMIN),
]
