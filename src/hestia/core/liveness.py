"""Whether what is hot still lives: what probes and failing requests say about it (RD-10, RD-11, CK-02).

An instance that fails a probe is `suspect`: still hot, yet it gets a new lease only where no other instance
has room. A suspect that nobody uses is stopped after `FAILURES` failed probes in a row; one in use is not,
because a program that works on one long answer may answer nothing beside it. Only where that lasts longer
than an answer may take does it drain. One probe at a time; what nobody uses is asked ever more rarely
(RD-16). Works through `core.steps`, of which it is a part that stands apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hestia.core import lifecycle as lc
from hestia.core.effects import Doubted, RunLivenessProbe, Timer
from hestia.core.errors import UpstreamTimeout
from hestia.core.lease import Use
from hestia.core.lifecycle import State
from hestia.core.model import NEVER
from hestia.core.records import Slot

if TYPE_CHECKING:
    from hestia.core.steps import Steps

FAILURES: Final = 3  # failed probes in a row after which what nobody uses is stopped
SLOWEST_AGAIN: Final = 10.0  # seconds between probes of a suspect at most; 1, 2, 4, 8 before that
REFUSALS: Final = 3  # times its listener may go away just after it was ready; the last is a crash (RD-10)
FLAPPING: Final = 2.0  # seconds for which a listener that went away is waited for (CQ-13)
RAREST: Final = 300.0  # seconds between probes of what nobody has used for long
SHARE: Final = 0.25  # of the time for which nobody used it, until it is asked again
SPACING: Final = 1.0  # seconds between probes that failing requests bring about


def arm(steps: Steps, slot: Slot, now: float) -> None:
    """Ask for the next look."""
    use, every = slot.use, slot.service.settings.health_interval
    if use is not None and use.suspect:
        steps.timer(slot, Timer.LIVENESS, now + SPACING)
    if use is None or use.suspect or every == NEVER or not _is_watched(slot):
        return
    rare = max(every, min(RAREST, (now - use.last_used) * SHARE))
    steps.timer(slot, Timer.LIVENESS, now + rare * steps.spread())


def look(steps: Steps, slot: Slot, now: float) -> None:
    """The timer fired: ask, unless requests have just shown that it lives."""
    use = slot.use
    if use is None or slot.state is not State.HOT or slot.pulse.asking:
        return
    proven = not use.suspect and now - use.last_used < slot.service.settings.health_interval
    if proven and not use.open and use.granted:
        arm(steps, slot, now)
    else:
        _ask(steps, slot, use, now)


def doubt(steps: Steps, slot: Slot, now: float) -> None:
    """A request was let down there: look now, at most once a second."""
    use, pulse = slot.use, slot.pulse
    if use is None or slot.state is not State.HOT or pulse.asking or use.suspect:
        return
    if now - pulse.asked_at < SPACING:
        steps.timer(slot, Timer.LIVENESS, pulse.asked_at + SPACING)
    else:
        _ask(steps, slot, use, now)


def suspect_all(steps: Steps, slot: Slot, now: float) -> None:
    """Nobody knows what became of it while this machine slept (CK-02): look soon, not all in one tick."""
    if slot.use is not None and slot.state is State.HOT:
        _mark(slot.use)
        if not slot.pulse.asking:
            steps.timer(slot, Timer.LIVENESS, now + FLAPPING * steps.chance())


def refused(steps: Steps, slot: Slot, detail: str, now: float) -> None:
    """Nobody listens though it was ready a moment ago: probe again; the third time is a crash (RD-10)."""
    use, pulse = slot.use, slot.pulse
    if use is None or slot.state is not State.HOT or use.suspect:
        return
    pulse.refusals += 1
    if pulse.refusals >= REFUSALS:
        said = f"its listener went away {REFUSALS} times right after it was ready ({detail})"
        _end(steps, slot, said, now, unstable=True)
        return
    _mark(use)
    if not pulse.asking:
        _ask(steps, slot, use, now, patience=FLAPPING)


def answered(steps: Steps, slot: Slot, said: str, now: float, *, alive: bool, refused: bool) -> None:
    """A probe ended. said: what it got, for people. refused: nobody listens."""
    use, pulse = slot.use, slot.pulse
    pulse.asking = False
    if use is None or slot.state is not State.HOT:
        return
    if alive:
        if use.suspect:
            use.ready_since = now
        trust(steps, slot, use, now)
        arm(steps, slot, now)
        return
    pulse.failures += 1
    pulse.said = said
    if pulse.failures == 1:
        pulse.since = now
        _mark(use)
        steps.effects.append(Doubted(use.key, True, said))
    foreign = slot.record.external or not slot.settings.managed
    if refused and foreign and not use.open:  # nobody here would be told otherwise (RD-15)
        _end(steps, slot, said, now, unstable=False)
    elif pulse.failures >= FAILURES and not use.open:
        _end(steps, slot, said, now, unstable=not foreign and not slot.is_stable(now))
    elif pulse.failures >= FAILURES and now - pulse.since >= slot.service.settings.response_timeout:
        _drain(steps, slot, now)
    else:
        again = min(SLOWEST_AGAIN, 2.0 ** min(pulse.failures - 1, 10))
        steps.timer(slot, Timer.LIVENESS, now + again * steps.spread())


def trust(steps: Steps, slot: Slot, use: Use, now: float) -> None:
    """It answered: a suspect no more."""
    pulse, was = slot.pulse, use.suspect
    use.suspect, use.awaited = False, not use.warm
    if pulse.failures:
        steps.effects.append(Doubted(use.key, False, pulse.said))
    pulse.failures = 0
    if was:
        steps.pump(slot.service, now)


def released(steps: Steps, slot: Slot, now: float) -> None:
    """The last lease of a suspect was given back: what waited for that is due."""
    if slot.pulse.failures >= FAILURES and slot.state is State.HOT and not slot.pulse.asking:
        look(steps, slot, now)


def _is_watched(slot: Slot) -> bool:
    """Whether probes find what nobody else would tell: an engine reports the end of what it started."""
    return bool(slot.settings.health_url) or slot.record.external or not slot.settings.managed


def _ask(steps: Steps, slot: Slot, use: Use, now: float, *, patience: float = 0.0) -> None:
    slot.pulse.asking, slot.pulse.asked_at = True, now
    steps.timer(slot, Timer.LIVENESS, None)
    steps.effects.append(RunLivenessProbe(use.key, use.endpoint, patience))


def _mark(use: Use) -> None:
    use.suspect = use.awaited = True


def _end(steps: Steps, slot: Slot, said: str, now: float, *, unstable: bool) -> None:
    service, instance = slot.record.service, slot.record.id
    error = UpstreamTimeout(
        f'"{service}" was in service and does not answer any more: {said}.',
        cause="hung",
        service_id=service,
        remedy=f"hestia logs {service}",
    )
    event = lc.InstanceGone(service=service, instance=instance, error=error, unstable=unstable)
    steps.step(slot, event, now)


def _drain(steps: Steps, slot: Slot, now: float) -> None:
    """Its answers take longer than they may: no new ones, and it stops when they have been given up."""
    event = lc.StopRequested(
        service=slot.record.service, instance=slot.record.id, busy=True, keep_waiters=True, cause="hung"
    )
    steps.step(slot, event, now)
