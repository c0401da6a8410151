"""`hestia strategies`: what chooses among instances, which files are broken, and who uses what."""

from __future__ import annotations

import click

from hestia.cli.command import command
from hestia.cli.exits import Document
from hestia.cli.parameters import is_status
from hestia.cli.screen import Screen
from hestia.cli.session import Example, client_options, current
from hestia.cli.table import Column, render
from hestia.cli.text import counted, plain

_STRATEGIES = (Column("STRATEGY"), Column("VERSION"), Column("FROM", shrink=1, least=10, middle=True))
_SERVICES = (
    Column("SERVICE"),
    Column("STRATEGY"),
    Column("INSTANCES", shrink=1, least=10),
)


@command(
    "strategies",
    examples=(
        Example("hestia strategies", "those there are, and services with several instances"),
        Example("hestia strategies --json", "GET /v1/strategies"),
    ),
)
@client_options
def strategies() -> None:
    """Show which strategies there are, and which services use them."""
    session = current()
    client = session.client()
    _, body = client.call("GET", "/v1/strategies")
    if session.json:
        session.body(body)
        return
    for line in lines(is_status(client, body, dict), session.out):
        click.echo(line)


def lines(found: Document, screen: Screen) -> list[str]:
    """The tables, and what could not be loaded with the last line of where it broke."""
    loaded = found.get("loaded_strategies") or {}
    rows = [
        (plain(name), plain(str(one.get("version", ""))), plain(str(one.get("origin", ""))))
        for name, one in loaded.items()
    ]
    shown = render(_STRATEGIES, rows, screen)
    for one in found.get("failed_strategies") or []:
        shown.append(f"not loaded: {plain(str(one.get('file', '')))}: {plain(str(one.get('detail', '')))}")
    services = found.get("service_configurations") or {}
    if services:
        shown += ["", *render(_SERVICES, [_row(name, one) for name, one in services.items()], screen)]
    shown += [
        f"{plain(name)}: its strategy is not used: {plain(str(one.get('error')))}"
        for name, one in services.items()
        if one.get("error")
    ]
    shown += [
        f"{plain(name)}: its strategy failed for {counted(count, 'request')}, so the configured order was "
        "used; the gateway's log says why"
        for name, one in services.items()
        if isinstance(count := one.get("failures"), int) and count
    ]
    return shown


def _row(name: str, one: Document) -> tuple[str, str, str]:
    instances = ", ".join(plain(str(each.get("id", ""))) for each in one.get("instances") or [])
    return plain(name), plain(str(one.get("strategy") or "in order")), instances
