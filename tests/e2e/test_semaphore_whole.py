"""The whole way with real Ansible: request, task, playbook, service, answer, idle stop, stop playbook."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.contract.process_machine import free_port
from tests.e2e.semaphore import SemaphoreProgram, ansible_options, semaphore_program
from tests.e2e.served import serving

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

START: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "{{ hestia_service }} on {{ hestia_machine }} ({{ hestia_machine_address }}), GPU {{ gpu }}"
    - ansible.builtin.shell: >-
        setsid -f sh -c 'echo $$ >"$0"; exec "$@"' {{ playbook_dir }}/{{ hestia_service }}.pid
        flock --nonblock --no-fork {{ playbook_dir }}/gpu.lock
        {{ ansible_playbook_python }} -m http.server {{ hestia_port }} --bind 127.0.0.1
        --directory {{ playbook_dir }} </dev/null >>{{ playbook_dir }}/out 2>&1
    - ansible.builtin.wait_for: {host: "{{ hestia_host }}", port: "{{ hestia_port }}", timeout: 60}
"""
STOP: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.shell: >-
        kill $(cat {{ playbook_dir }}/{{ hestia_service }}.pid) &&
        rm {{ playbook_dir }}/{{ hestia_service }}.pid
    - ansible.builtin.wait_for: {port: "{{ hestia_port }}", host: 127.0.0.1, state: stopped, timeout: 60}
"""


@pytest.fixture
def semaphore(real_python: str, tmp_path: Path) -> Iterator[SemaphoreProgram]:
    (tmp_path / "start.yml").write_text(START)
    (tmp_path / "stop.yml").write_text(STOP)
    with semaphore_program("--tick", "0.5", *ansible_options(real_python, tmp_path)) as program:
        yield program
    for left in tmp_path.glob("*.pid"):  # of a test that failed: its plays ended nothing
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(left.read_text()), signal.SIGTERM)


def configured(semaphore: SemaphoreProgram, **services: dict[str, Any]) -> dict[str, Any]:
    """Services whose machine is gpu-1; the program that each play starts holds the machine's lock."""
    engine = {
        "type": "semaphore",
        "machine_id": "gpu-1",
        "start_template": "start",
        "stop_template": "stop",
        "variables": {"gpu": 0},
    }
    return {
        "machines": {"gpu-1": {"address": "10.0.0.7"}},
        "semaphore_base_url": semaphore.url,
        "semaphore_api_key": semaphore.token,
        "semaphore_project": "hestia",
        "services": {
            name: {"base_url": f"http://127.0.0.1:{free_port()}", "engine": engine, **keys}
            for name, keys in services.items()
        },
    }


async def test_a_request_runs_the_playbook_and_idleness_the_other(
    semaphore: SemaphoreProgram, tmp_path: Path
) -> None:
    configuration = configured(semaphore, files={"idle_timeout": "2s"})
    async with serving(tmp_path / "gateway", configuration) as gateway:
        gateway.http.timeout = 90
        answer = await gateway.get("/services/files/start.yml")
        assert answer.text == START
        text = (await gateway.get("/v1/services/files/logs")).text
        assert "files on gpu-1 (10.0.0.7), GPU 0" in text
        assert "PLAY RECAP" in text
        await gateway.until_line("service_cold", "files")
        automation = (await gateway.status("files"))["automation"]
        assert (automation["last_task"]["status"], automation["current_task"]) == ("success", None)
        assert automation["last_task"]["duration_ms"] > 0


async def test_two_services_of_a_machine_take_turns_by_playbooks(
    semaphore: SemaphoreProgram, tmp_path: Path
) -> None:
    """Nobody starves; two at once would fail at the machine's lock, which fails the start."""
    keys = {"min_hot": "200ms", "max_room_wait": "1s"}
    async with serving(tmp_path / "gateway", configured(semaphore, one=keys, two=keys)) as gateway:
        gateway.http.timeout = 120

        def starts() -> list[str]:
            told = [line for line in gateway.lines() if line.get("event_type") == "service_start"]
            return [str(line["service_id"]) for line in told]

        async def client(name: str) -> None:
            for _ in range(2):
                assert (await gateway.get(f"/services/{name}/start.yml")).text == START

        await asyncio.gather(*(client(name) for name in ["one", "two"] * 2))
        began = starts()
        assert {"one", "two"} == set(began)
        assert all(one != other for one, other in itertools.pairwise(began)), "each turn is one start"
