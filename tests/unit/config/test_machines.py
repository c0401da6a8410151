"""`machines` and `needs`: what they become, and the machines that services only name."""

from __future__ import annotations

import pytest

from hestia.config.machines import Bytes, Resources
from hestia.config.show import effective
from hestia.core.difference import difference
from hestia.core.model import MachineId, ServiceId
from tests.unit.config.loading import Loader

RUNS = "engine: {type: process, command: 'srv {port}'}"
BOX, CLOUD = MachineId("box"), MachineId("cloud-1")


def semaphore(name: str, **more: str) -> str:
    also = "".join(f", {key}: {value}" for key, value in more.items())
    return (
        f"  {name}: {{base_url: 'http://{name}:1', semaphore_enabled: true, "
        f"semaphore_machine_id: cloud-1{also}}}\n"
    )


def test_a_machine_is_what_its_keys_say(loader: Loader) -> None:
    settings = loader(
        "machines:\n  box: {address: box.lan, role: gpu, tags: [big], resources: {vram: 24GiB, gpus: 2}, "
        "max_instances: 3}\n  bare:\n"
        f"services: {{a: {{machine: box, needs: {{vram: 14GiB, gpus: 1}}, {RUNS}}}}}"
    )
    box = settings.machines[BOX]
    assert (box.address, box.role, box.tags, box.max_instances) == ("box.lan", "gpu", ("big",), 3)
    assert box.resources == {"vram": 24 * 2**30, "gpus": 2}
    assert box.sizes == frozenset({"vram"})
    assert settings.machines[MachineId("bare")].max_instances is None
    assert settings.services[ServiceId("a")].needs == {"vram": 14 * 2**30, "gpus": 1}


def test_needs_may_come_from_the_environment(loader: Loader) -> None:
    settings = loader(
        f"machines: {{box: {{resources: {{vram: 24GiB}}}}}}\nservices: {{a: {{machine: box, {RUNS}}}}}",
        env={"A_NEEDS": '{"vram": "8GiB"}', "A_PIN": "yes", "A_MIN_HOT_SECONDS": "5"},
    )
    service = settings.services[ServiceId("a")]
    assert (service.needs, service.pin, service.min_hot) == ({"vram": 8 * 2**30}, True, 5.0)


def test_what_is_in_force_is_shown_as_it_is_written(loader: Loader) -> None:
    settings = loader(
        "machines: {box: {resources: {vram: 24GiB, gpus: 2}}}\n"
        f"services: {{a: {{machine: box, needs: {{vram: 8GiB}}, {RUNS}}}}}"
    )
    shown = {row.key: row.value for row in effective(settings)}
    assert shown["machines"] == {"box": {"resources": {"vram": "24GiB", "gpus": 2}}}
    assert shown["services.a.needs"] == {"vram": "8GiB"}
    assert shown["services.a.max_room_wait"] == "1m"


def test_ck05_a_request_waits_for_room_as_long_as_those_who_have_it_may_take(loader: Loader) -> None:
    text = f"services: {{a: {{machine: box, {RUNS}}}, b: {{machine: box, drain_timeout: 1m, {RUNS}}}}}"
    alone = loader(text).services[ServiceId("a")]
    sharing = loader("machines: {box: {max_instances: 1}}\n" + text).services[ServiceId("a")]
    assert sharing.wait_limit - alone.wait_limit == 60 + 300 + 10  # max_room_wait, drain_timeout, stop_grace


def test_seed_services_that_name_one_machine_to_semaphore_alone_take_turns(loader: Loader) -> None:
    machines = loader("services:\n" + semaphore("a") + semaphore("b")).machines
    assert (machines[CLOUD].max_instances, machines[CLOUD].declared) == (1, False)
    assert loader("services:\n" + semaphore("a")).services[ServiceId("a")].room_wait > 0
    described = "machines: {cloud-1: {address: 10.0.0.7}}\n"
    assert loader(f"{described}services:\n" + semaphore("a")).machines[CLOUD].max_instances == 1, (
        "no word of room"
    )


@pytest.mark.parametrize(
    ("first", "services"),
    [
        ("machines: {cloud-1: {max_instances: 2}}\n", semaphore("a") + semaphore("b")),
        ("machines: {cloud-1: {resources: {vram: 24GiB}}}\n", semaphore("a")),
        ("", semaphore("a") + semaphore("b", machine="cloud-1")),
        ("", semaphore("a") + f"  c: {{machine: cloud-1, {RUNS}}}\n"),
    ],
    ids=[
        "said otherwise",
        "its resources",
        "named by `machine` as well",
        "another service lives there",
    ],
)
def test_seed_that_is_so_only_where_nothing_else_is_said(loader: Loader, first: str, services: str) -> None:
    machines = loader(first + "services:\n" + services).machines
    assert machines[CLOUD].max_instances == (2 if "max_instances" in first else None)


def test_ev13_a_machine_that_changed_is_taken_up_by_a_reload(loader: Loader) -> None:
    text = f"services: {{a: {{machine: box, {RUNS}}}}}"
    old, new = (loader(f"machines: {{box: {{max_instances: {n}}}}}\n{text}") for n in (1, 2))
    found = difference(old, new)
    assert (found.gateway, found.waiting) == (("machines",), ())


def test_a_name_that_looks_misspelt_is_told(loader: Loader) -> None:
    settings = loader(
        f"machines: {{gpu-server-01: {{}}}}\nservices: {{a: {{machine: gpu-sever-01, {RUNS}}}}}"
    )
    assert any("did you mean 'gpu-server-01'?" in warning for warning in settings.warnings)


@pytest.mark.parametrize(
    "value", ["{vram: 1", "[]", {"vram": True}, {"vram": -1}, {"Vram": 1}, {"instances": 1}]
)
def test_amounts_that_are_none(value: object) -> None:
    with pytest.raises(ValueError, match=r"vram|Vram|instances|amounts"):
        Resources().read(value)


def test_a_size_is_told_from_a_number() -> None:
    read = Resources().read({"vram": "1GiB", "gpus": "4"})
    assert {name: isinstance(amount, Bytes) for name, amount in read.items()} == {"vram": True, "gpus": False}
