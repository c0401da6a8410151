"""`hestia machines` in words."""

from __future__ import annotations

from typing import Any

from hestia.api.machines import document
from hestia.cli.commands.machines import amount, details, table
from hestia.cli.screen import Screen
from tests.fakes.control import machine_status

PIPE = Screen(terminal=False, colour=False, redraw=False, drawn_marks=False, width=None)


def machine(name: str, *, busy: bool = True) -> dict[str, Any]:  # a document of the API
    return document(machine_status(name, busy=busy)).model_dump(by_alias=True, mode="json")


def test_a_line_for_each_machine() -> None:
    assert table([machine("gpu-1"), machine("local", busy=False)], PIPE) == [
        "MACHINE\tSTATE\tADDRESS\tRUNNING\tUSED\tWAITS",
        "gpu-1\tawake\tgpu.lan\t1 of 2\tvram 14 GiB of 24 GiB\tsdxl",
        "local\tawake\t-\t0\t-\t-",
    ]


def test_one_machine_says_who_has_its_room_and_who_waits() -> None:
    text = "\n".join(details(machine("gpu-1"), PIPE))
    assert "comfyui, has vram 14 GiB: is busy (2 requests)" in text
    assert "gives way to who waited long enough" in text
    assert "sdxl waits, needs vram 20 GiB: comfyui is busy (2 requests)" in text
    assert "It has no limits" in "\n".join(details(machine("local", busy=False), PIPE))


def test_cl14_the_table_fits_80_columns() -> None:
    screen = Screen(terminal=True, colour=False, redraw=False, drawn_marks=False, width=80)
    assert all(len(line) <= 80 for line in table([machine("a-machine-with-a-long-name" * 2)], screen))


def test_amounts_in_words() -> None:
    assert [amount(one, "bytes") for one in (3 * 2**29, 2**20, 1024, 5)] == [
        "1.5 GiB",
        "1 MiB",
        "1 KiB",
        "5 B",
    ]
    assert amount(4, "pieces") == "4"
