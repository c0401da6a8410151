"""`hestia doctor`: what is wrong, where, and what to do about it; with or without a running gateway."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import click

from hestia.cli.command import command
from hestia.cli.doctor.checks import checks
from hestia.cli.doctor.finding import Finding, Level
from hestia.cli.doctor.report import report as report_lines
from hestia.cli.doctor.rounds import Round, Tell
from hestia.cli.doctor.show import document, lines, summary
from hestia.cli.doctor.world import World, gather
from hestia.cli.exits import ExitCode, Interrupted, Quiet
from hestia.cli.session import Example, Session, client_options, current
from hestia.cli.target import read_key
from hestia.cli.text import cut_end, span


@command(
    "doctor",
    examples=(
        Example("hestia doctor", "everything: configuration, ports, engines, addresses, machine"),
        Example("hestia doctor -q", "only what is wrong; exit code 1 when something has failed"),
        Example("hestia doctor --report > report.md", "a text for an issue, without secrets"),
        Example("hestia doctor --report req_7kq2mxw3f5z6ayb4ndaaab", "the same, with one request"),
    ),
)
@click.option("--config", "path", metavar="PATH", help="The configuration file. Also: HESTIA_CONFIG_PATH.")
@click.option(
    "--report",
    "about",
    is_flag=False,
    flag_value="",
    metavar="[ID]",
    help="Print a text for an issue: findings, settings, services, one request; no secrets.",
)
@client_options
def doctor(path: str | None, about: str | None) -> None:
    """Find out what is wrong, and what to do. Changes nothing, wakes nothing, needs no gateway.

    Each line is ok, skip, warn or FAIL. Exit code 0: nothing has failed; 1: something has.
    """
    session = current()
    key = read_key(session.key_file, session.environment)
    trace = session.note if session.verbose else None
    world = gather(
        session.environment,
        session.folder,
        path=path,
        url=session.url,
        key=key,
        trace=trace,
        bodies=session.verbose > 1,
    )
    began = time.monotonic()
    findings = _look(session, world)
    spent = time.monotonic() - began
    report = about is not None
    text = report_lines(world, findings, about=about or "") if report else []
    if session.json:
        found = document(findings, seconds=spent, url=world.target.url)
        session.result(
            json.dumps({**found, **({"report": "\n".join(text)} if report else {})}, ensure_ascii=False)
        )
    else:
        for line in text or _shown(session, findings):
            session.result(line)
    if any(finding.level is Level.FAIL for finding in findings):
        if not report:
            session.hint("For an issue: hestia doctor --report")
        raise Quiet(ExitCode.FAILED)


def _shown(session: Session, findings: Sequence[Finding]) -> list[str]:
    return [*lines(findings, session.out, quiet=session.quiet), summary(findings)]


def _look(session: Session, world: World) -> list[Finding]:
    """Run all checks, with one line of progress on a terminal. Raises Interrupted, after what is known."""
    everything = Round(checks(world))
    drawn = session.err.redraw and not session.quiet and not session.json and not session.verbose
    try:
        everything.run(_progress(session) if drawn else _say_nothing)
    except KeyboardInterrupt as exc:
        if drawn:
            _wipe()
        if not session.json:
            for line in lines(everything.findings, session.out, quiet=session.quiet):
                session.result(line)
        count = everything.left
        raise Interrupted(
            f"Stopped; {count} {'check was' if count == 1 else 'checks were'} not finished."
        ) from exc
    if drawn:
        _wipe()
    if session.verbose:
        for name, where, seconds in everything.took:
            session.note(f"check {f'{name} {where}'.strip()} took {span(seconds * 1000)}")
    return everything.findings


def _say_nothing(done: int, count: int, names: Sequence[str]) -> None:
    """No terminal, or nobody wants to see it."""


def _progress(session: Session) -> Tell:
    def tell(done: int, count: int, names: Sequence[str]) -> None:
        text = f"{done} of {count} checks done; looking at: {', '.join(dict.fromkeys(names))}"
        click.echo(
            "\r" + cut_end(text, (session.err.width or 80) - 1) + "\x1b[K", err=True, nl=False, color=True
        )

    return tell


def _wipe() -> None:
    click.echo("\r\x1b[K", err=True, nl=False, color=True)
