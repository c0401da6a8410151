"""The Semaphore stand-in with real Ansible: what a play gets, what it starts, what is told of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from websockets.sync.client import connect

from tests.e2e.semaphore import SemaphoreProgram, ansible_options, semaphore_program

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# A start play detaches what it starts and leaves its pid; a stop play ends it.
START: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.shell: >-
        setsid -f sh -c 'echo $$ >"$0"; exec "$@"' {{ playbook_dir }}/{{ service_port }}.pid
        {{ ansible_playbook_python }} -m http.server {{ service_port }} --bind 127.0.0.1
        </dev/null >/dev/null 2>&1
    - ansible.builtin.wait_for: {host: 127.0.0.1, port: "{{ service_port }}", timeout: 60}
"""
STOP: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.shell: kill $(cat {{ playbook_dir }}/{{ service_port }}.pid)
    - ansible.builtin.wait_for: {host: 127.0.0.1, port: "{{ service_port }}", state: stopped, timeout: 60}
"""
FAIL: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.fail: {msg: "no room on {{ semaphore_vars.task_details.message }}"}
"""


@pytest.fixture(params=["2.10", "2.16"])
def semaphore(request: pytest.FixtureRequest, real_python: str, tmp_path: Path) -> Iterator[SemaphoreProgram]:
    """A stand-in of each version that plays these playbooks on this machine."""
    for name, text in (("start", START), ("stop", STOP), ("fail", FAIL)):
        (tmp_path / f"{name}.yml").write_text(text)
    names = [word for name in ("start", "stop", "fail") for word in ("--template", name)]
    options = ("--version", request.param, "--tick", "0.5", *names, *ansible_options(real_python, tmp_path))
    with semaphore_program(*options) as program:
        yield program


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_start_play_leaves_a_service_and_a_stop_play_ends_it(
    semaphore: SemaphoreProgram, port: int
) -> None:
    try:
        task = _run(semaphore, "start", service_port=port)
        assert task["status"] == "success", _output(semaphore, task)
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
    finally:
        task = _run(semaphore, "stop", service_port=port)
    assert task["status"] == "success", _output(semaphore, task)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_a_failing_play_ends_in_error_with_its_words_in_the_output(semaphore: SemaphoreProgram) -> None:
    task = _run(semaphore, "fail")
    assert task["status"] == "error"
    assert "no room on gpu-1" in _output(semaphore, task)


def test_a_call_can_be_dropped_and_the_server_restarted_from_outside(semaphore: SemaphoreProgram) -> None:
    semaphore.fault("drop_reply", method="GET", path="/api/projects")
    with semaphore.http() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            http.get("/api/projects")
        semaphore.restart()
        answer = http.get("/api/projects")
    assert [one["name"] for one in answer.json()] == ["hestia"]
    seen = [call["status"] for call in semaphore.calls() if call["path"] == "/api/projects"]
    assert seen == [None, 200]


def _run(semaphore: SemaphoreProgram, template: str, **variables: object) -> Any:
    """Start a task and follow the event stream to its end; the task."""
    root = f"/api/project/{semaphore.project_id}/tasks"
    asked = {
        "template_id": semaphore.templates[template],
        "environment": json.dumps(variables),
        "message": "gpu-1",
    }
    bearer = {"Authorization": f"Bearer {semaphore.token}"}
    with (
        semaphore.http() as http,
        connect(f"{semaphore.url.replace('http', 'ws', 1)}/api/ws", additional_headers=bearer) as stream,
    ):
        task_id = http.post(root, json=asked).json()["id"]
        while True:
            told = json.loads(stream.recv(timeout=100))
            if told["task_id"] == task_id and told.get("end") is not None:
                return http.get(f"{root}/{task_id}").json()


def _output(semaphore: SemaphoreProgram, task: Any) -> str:
    with semaphore.http() as http:
        lines = http.get(f"/api/project/{semaphore.project_id}/tasks/{task['id']}/output").json()
    return "\n".join(line["output"] for line in lines)
