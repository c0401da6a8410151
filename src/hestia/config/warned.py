"""What of a configuration has no effect, or another one than it seems: for the log, and in a line each."""

from __future__ import annotations

import logging

from hestia.core.model import Settings

log = logging.getLogger(__name__)


def warnings_of(settings: Settings) -> tuple[str, ...]:
    """What is doubtful about it, and which files of the user's own are broken, also those nobody uses."""
    failed = settings.strategies.failed if settings.strategies is not None else ()
    return (*settings.warnings, *(f"not loaded: {one.file}: {one.detail}" for one in failed))


def tell_warnings(settings: Settings, before: Settings | None = None) -> None:
    """What the configuration says that has no effect, or another one than it seems; and which files of the
    user's own are broken, each with its traceback. What was so before is not told again (FM-09)."""
    for warning in settings.warnings:
        if before is None or warning not in before.warnings:
            log.warning(warning, extra={"event_type": "config_warning"})
    known = before.strategies.failed if before is not None and before.strategies is not None else ()
    for one in settings.strategies.failed if settings.strategies is not None else ():
        if one not in known:
            log.warning(
                "Not loaded: %s: %s%s",
                one.file,
                one.detail,
                f"\n{one.trace}" if one.trace else "",
                extra={"event_type": "strategy_not_loaded", "file": one.file},
            )
