"""Marks on tasks, handles, and what a playbook is told."""

from __future__ import annotations

import json

import pytest

from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
from hestia.core.ports import StartSpec
from hestia.engines.semaphore.handle import START, STOP, Mark, Place, told_at, told_by, variables_of
from hestia.engines.semaphore.options import SemaphoreOptions
from hestia.engines.semaphore.tasks import Task

KEY = InstanceKey(GatewayId("gw-1"), ServiceId("comfyui"), InstanceId("main"), 7)


def task(message: str) -> Task:
    return Task(id=1, template=1, status="waiting", message=message)


@pytest.mark.parametrize(
    "mark", [Mark(key=KEY, action=START, options_hash="0a1b", stop=2), Mark(key=KEY, action=STOP)]
)
def test_a_mark_is_read_as_it_was_written(mark: Mark) -> None:
    assert Mark.of(task(str(mark))) == mark
    assert str(mark).startswith(f"{KEY} ")


def test_a_mark_fits_into_a_message_even_with_the_longest_names() -> None:
    longest = InstanceKey(GatewayId("g" * 32), ServiceId("s" * 63), InstanceId("i" * 63), 10**9)
    assert len(str(Mark(key=longest, action=START, options_hash="f" * 16, stop=2**31))) <= 250


@pytest.mark.parametrize(
    "message",
    ["", "by hand", "hestia:", "hestia:a/b start", f"{KEY}", f"{KEY} restart", "hestia:a/b/c/x stop"],
)
def test_other_messages_are_none_of_ours(message: str) -> None:
    assert Mark.of(task(message)) is None


def test_a_handle_is_small_json_and_read_back() -> None:
    place = Place(
        key=KEY,
        server="http://semaphore:3000",
        project=3,
        start=1,
        stop=2,
        task=0,
        variables={"hestia_base_url": "http://gpu.lan:8000", "hestia_health_url": "http://gpu.lan:8000/h"},
    )
    assert Place.read(json.loads(json.dumps(dict(place.handle())))) == place
    assert str(place.endpoint) == "http://gpu.lan:8000"
    assert place.health_url == "http://gpu.lan:8000/h"


@pytest.mark.parametrize("handle", [{}, {"from": "another engine"}, {"key": str(KEY), "variables": 3}])
def test_another_engine_s_handle_is_none(handle: dict[str, object]) -> None:
    assert Place.read(handle) is None


def test_the_playbook_is_told_what_is_meant() -> None:
    options = SemaphoreOptions(machine_id="gpu-1", variables={"gpu": "0"})
    spec = StartSpec(
        options=options,
        options_hash="h",
        base_url="https://gpu.lan/app",
        health_url="https://gpu.lan/app/health",
        address="10.0.0.7",
    )
    assert variables_of(spec, options, KEY) == {
        "gpu": "0",
        "hestia_service": "comfyui",
        "hestia_instance": "main",
        "hestia_instance_key": "hestia:gw-1/comfyui/main/7",
        "hestia_machine": "gpu-1",
        "hestia_machine_address": "10.0.0.7",
        "hestia_base_url": "https://gpu.lan/app",
        "hestia_health_url": "https://gpu.lan/app/health",
        "hestia_host": "gpu.lan",
        "hestia_port": "443",
    }


def test_a_task_tells_what_it_was_told() -> None:
    told = told_at(START, {"hestia_port": "80"})
    assert told == {"hestia_port": "80", "hestia_action": "start"}
    assert told_by(Task(id=1, template=1, status="success", variables=told)) == {"hestia_port": "80"}
