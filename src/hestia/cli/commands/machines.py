"""`hestia machines`: what each machine has, who has it, who waits for room."""

from __future__ import annotations

from collections.abc import Iterator

import click

from hestia.cli.command import command
from hestia.cli.exits import Document
from hestia.cli.parameters import is_status
from hestia.cli.screen import Screen
from hestia.cli.session import Example, client_options, current
from hestia.cli.table import Column, render
from hestia.cli.text import plain

COLUMNS = (
    Column("MACHINE", shrink=2, least=8, middle=True),
    Column("STATE"),
    Column("ADDRESS", shrink=1, least=8, drop=1, middle=True),
    Column("RUNNING", right=True),
    Column("USED", shrink=3, least=12, drop=3),
    Column("WAITS", shrink=4, least=6, drop=2),
)
_GIVES_WAY = {
    "at_once": "gives way at once",
    "after_wait": "gives way to who waited long enough",
    "never": "never gives way",
    "leaving": "its room is free when it is gone",
}


@command(
    "machines",
    examples=(
        Example("hestia machines", "all machines"),
        Example("hestia machines gpu-server-01", "one: who has its room, and who waits for it"),
        Example("hestia machines --json", "GET /v1/machines"),
    ),
)
@click.argument("machine", required=False)
@click.option("--no-header", is_flag=True, help="Leave the table's header out.")
@client_options
def machines(machine: str | None, no_header: bool) -> None:
    """Show the machines: what they have, and who has it."""
    session = current()
    client = session.client()
    _, body = client.call("GET", "/v1/machines" if machine is None else f"/v1/machines/{machine}")
    if session.json:
        session.body(body)
        return
    if machine is not None:
        for line in details(is_status(client, body, dict), session.out):
            session.result(line)
        return
    for line in table(is_status(client, body, list), session.out, header=not no_header):
        session.result(line)


def table(found: list[Document], screen: Screen, *, header: bool = True) -> list[str]:
    """One line for each machine."""
    return render(COLUMNS, [_row(one) for one in found], screen, header=header)


def _row(one: Document) -> tuple[str, ...]:
    limit = one.get("maxInstances")
    running = f"{one.get('running', 0)}" + (f" of {limit}" if limit is not None else "")
    waiting = ", ".join(plain(str(each.get("serviceId", ""))) for each in one.get("waiting") or ())
    return (
        plain(str(one.get("machineId", ""))),
        plain(str(one.get("state", ""))),
        plain(str(one.get("address") or "-")),
        running,
        ", ".join(_used(one)) or "-",
        waiting or "-",
    )


def _used(one: Document) -> Iterator[str]:
    for name, resource in (one.get("resources") or {}).items():
        unit = str(resource.get("unit", ""))
        used, total = (amount(resource.get(key, 0), unit) for key in ("used", "total"))
        yield f"{plain(name)} {used} of {total}"


def _room_of(one: Document, name: str) -> str:
    """What a machine without resources has room for. name: of the machine, safe to show."""
    limit = one.get("maxInstances")
    if limit is None:
        return f"It has no limits: machines.{name} says nothing of its room."
    if limit == 1:
        return f"Its services take turns; machines.{name}.max_instances says how many may run at once."
    return f"machines.{name}.max_instances: {limit} may run at once."


def details(one: Document, screen: Screen) -> list[str]:
    """One machine in full."""
    name = plain(str(one.get("machineId", "")))
    facts = [
        ("state", plain(str(one.get("state", "")))),
        ("address", plain(str(one.get("address", "")))),
        ("role", plain(str(one.get("role", "")))),
        ("tags", ", ".join(plain(str(tag)) for tag in one.get("tags") or ())),
        ("running", _row(one)[3]),
        *[("used", text) for text in _used(one)],
    ]
    lines = [screen.painted(name, "1"), "", *(f"  {title:<10}{text}" for title, text in facts if text)]
    if not one.get("resources"):
        lines += ["", f"  {_room_of(one, name)}"]
    units = {key: str(each.get("unit", "")) for key, each in (one.get("resources") or {}).items()}
    for each in one.get("instances") or ():
        way = _GIVES_WAY.get(str(each.get("givesWay")), "")
        lines.append("")
        lines.append(
            f"  {_place(each)}{_amounts(each.get('takes'), units)}: {plain(str(each.get('why', '')))}"
        )
        lines += [f"    {way}"] if way else []
    for each in one.get("waiting") or ():
        text = plain(str(each.get("text", "")))
        lines += ["", f"  {_place(each)} waits{_amounts(each.get('needs'), units, word='needs')}: {text}"]
    return lines


def _place(each: Document) -> str:
    service, instance = plain(str(each.get("serviceId", ""))), plain(str(each.get("instanceId", "")))
    return service if instance in ("main", service) else f"{service} ({instance})"


def _amounts(amounts: Document | None, units: dict[str, str], *, word: str = "has") -> str:
    told = [f"{plain(name)} {amount(one, units.get(name, ''))}" for name, one in (amounts or {}).items()]
    return f", {word} {', '.join(told)}" if told else ""


def amount(one: object, unit: str) -> str:
    """`14 GiB`, `2`."""
    if unit != "bytes" or not isinstance(one, int):
        return str(one)
    for power, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if abs(one) >= 2**power:
            return f"{one / 2**power:.4g} {name}"
    return f"{one} B"
