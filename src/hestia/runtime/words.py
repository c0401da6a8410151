"""Events as sentences: what happened, why, and who wanted it. Owns the words; every cause has some."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from hestia.core.lifecycle import State
from hestia.core.ports import Row

CAUSES: Final[Mapping[str, str]] = {
    "demand": "a request came",
    "api": "asked for",
    "spill_over": "its strategy says that the others are busy",
    "restart": "restarted",
    "keep_warm": "keep_warm says so",
    "dependency": "another service needs it",
    "idle": "nobody used it for its idle_timeout",
    "outdated": "its settings have changed since it was started",
    "busy_unknown": "its busy probe gave no answer for too long",
    "evicted_for": "its room is for another service",
    "nobody_waits": "nobody waits for its room any more",
    "config": "the configuration says so",
    "shutdown": "the gateway ends",
    "external": "somebody else started it",
    "adopted": "an earlier gateway had started it",
    "resumed": "an earlier gateway was stopping it",
    "no_endpoint": "its address is not known any more",
    "ended_while_away": "it had ended while no gateway looked",
    "drain_given_up": "its requests did not end within drain_timeout",
    "exited": "it ended by itself",
    "hung": "it does not answer any more",
    "probe": "its liveness probe",
    "refused": "nothing answers at its address any more",
    "remembered": "it had failed before the gateway was restarted",
    "unknown": "nobody can say whether it runs",
}
ONLY: Final = "main"  # the instance of `base_url`, which most services have alone
WORTH_TELLING: Final = 0.5  # seconds of stopping; what is quicker was no wait
_OPENERS: Final = frozenset(("A", "An", "It", "Nobody", "Nothing", "The", "There"))  # no names
_SENTENCE: Final = re.compile(r"\.\s")
_RELOADED: Final[Mapping[str, str]] = {
    "added": "added",
    "removed": "removed",
    "changed": "changed",
    "gateway": "changed for the gateway:",
    "needs_restart": "waits for a restart of the gateway:",
}
_VERBS: Final[Mapping[str, str]] = {
    State.STARTING: "starts",
    State.HOT: "is hot",
    State.DRAINING: "takes no more requests, and ends when those open have ended",
    State.STOPPING: "is being stopped",
    State.COLD: "is cold",
    State.FAILED: "has failed",
}


def sentence(row: Row) -> str:
    """What an event says, without its time."""
    if row.after:
        return _moved(row)
    said = NOTES.get(row.event)
    return said(row) if said is not None else f"{row.event}: {row.cause}"


def cause_of(row: Row) -> str:
    """The cause in words, with who wanted it."""
    word, _, more = row.cause.partition(":")
    words = CAUSES.get(word, row.cause)
    if word in CAUSES and more:
        words += f" ({more})"
    if row.actor:
        who = f"by the API, request {row.actor[4:]}" if row.actor.startswith("api:") else row.actor
        words += f" ({who})"
    return words


def _moved(row: Row) -> str:
    """`a takes no more requests …: nobody used it for its idle_timeout; 2 open`."""
    detail = _first(str(row.data.get("detail") or ""), row.service)
    parts = [f"{_name(row)} {_verb(row, told=bool(detail))}"]
    if detail:
        parts.append(detail)
    elif row.cause:
        parts.append(cause_of(row))
    text = ": ".join(parts)
    if row.before == State.STARTING and row.after == State.HOT:
        text += f", after {row.lasted:.1f} s"
    elif row.before in (State.DRAINING, State.STOPPING) and row.lasted >= WORTH_TELLING and not _ends(row):
        text += f", after {row.lasted:.1f} s of stopping"
    if row.after in (State.DRAINING, State.STOPPING):
        if count := row.data.get("open_leases"):
            text += f"; {count} open"
        if row.data.get("forced"):
            text += "; by force"
    return text


def _name(row: Row) -> str:
    """The service, and which of several instances: the one of `base_url` is told only beside others."""
    alone = row.instance in ("", row.service) or (row.instance == ONLY and not row.data.get("several"))
    return row.service if alone else f"{row.service} ({row.instance})"


def _verb(row: Row, *, told: bool) -> str:
    """What became of it. told: the row says what went wrong."""
    if _is_adoption(row):
        return "is taken over"
    if row.after == State.STOPPING and told and row.before == State.STARTING:
        return "did not start"
    if row.after == State.STOPPING and told and row.cause == "exited":
        return "ended by itself"
    if row.after == State.STOPPING and row.before == State.HOT and row.cause == "refused":
        return "has gone"  # somebody else had started it, and ended it: nothing is stopped
    return _VERBS.get(row.after, row.after)


def _ends(row: Row) -> bool:
    """Whether the stop goes on."""
    return row.after not in (State.COLD, State.FAILED)


def _is_adoption(row: Row) -> bool:
    """Whether it ran before this gateway did, and is looked at: nothing is started."""
    return row.after == State.STARTING and row.cause == "adopted"


def _lost(row: Row) -> str:
    who = f" (pid {pid})" if (pid := row.data.get("pid")) else ""
    return f"the gateway before{who} was killed, or its machine went down: it had not ended in order"


def _first(detail: str, service: str) -> str:
    """The first sentence, without the name of the service in front and as part of another one."""
    text = _SENTENCE.split(detail, maxsplit=1)[0].removesuffix(".").removeprefix(f"{service}: ")
    return text[:1].lower() + text[1:] if text.partition(" ")[0] in _OPENERS else text


def _attempt(row: Row) -> str:
    return f"a request to {row.service} is sent again: {_first(row.cause, row.service)}{_asker(row)}"


def _fell_back(row: Row) -> str:
    return f"a request to {row.service} goes to its fallback: {_first(row.cause, row.service)}{_asker(row)}"


def _asker(row: Row) -> str:
    return f" ({row.actor})" if row.actor else ""


def _reloaded(row: Row) -> str:
    told = [
        f"{words} {', '.join(map(str, found))}"
        for name, words in _RELOADED.items()
        if (found := _list(row.data.get(name)))
    ]
    return f"the configuration was read again: {'; '.join(told) or 'nothing differs'}"


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _refused(row: Row) -> str:
    problems = [str(one).partition("\n")[0] for one in _list(row.data.get("problems"))]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"a new configuration was refused: {problems[0] if problems else row.cause}{more}"


def _made_room(row: Row) -> str:
    told = "; ".join(map(str, _list(row.data.get("told"))))
    return f"room for {row.service} on {row.data.get('machine', '?')}: {told}"


NOTES: Final[Mapping[str, Callable[[Row], str]]] = {
    "RequestRetried": _attempt,
    "RequestFellBack": _fell_back,
    "ConfigReloaded": _reloaded,
    "ConfigRefused": _refused,
    "GatewayStarted": lambda row: f"the gateway started (version {row.data.get('version', '')})",
    "GatewayHandedOver": lambda _: "the gateway gives its place to another one (hestia serve --takeover)",
    "GatewayLost": _lost,
    "MadeRoom": _made_room,
    "GatewayEnded": lambda _: "the gateway ended",
    "StoreTroubled": lambda row: f"the store cannot be written: {row.cause}",
    "StoreRecovered": lambda _: "the store is written again",
    "MachineSlept": lambda row: f"this machine was asleep for {row.data.get('slept_s', '?')} s",
    "OrphanEnded": lambda row: f"something that no setting names any more was ended: {row.cause}",
    "OrphanGivenUp": lambda row: f"something of {row.service} was given up, and may still run: {row.cause}",
    "OrphanKept": lambda row: f"something runs that no setting names any more: {row.cause}",
    "OrphanStays": lambda row: f"something that no setting names any more cannot be ended: {row.cause}",
    "InstanceSuspected": lambda row: f"{row.service} does not answer its probe: {row.data.get('detail', '')}",
    "InstanceRecovered": lambda row: f"{row.service} answers again",
    "WatchdogReleased": lambda row: f"requests to {row.service} were answered long after their time",
}
