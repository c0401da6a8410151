"""When following a start is over, read from statuses in the order in which a gateway shows them."""

from __future__ import annotations

import pytest

from hestia.cli import follow
from hestia.cli.exits import CliError
from tests.fakes.api_server import last_error, status


def test_a_failed_start_that_is_being_stopped_ends_with_its_reason() -> None:
    """Its program is ended before it shows as failed: nobody else stopped it."""
    over = follow.hot()
    assert not over(status("llm", "starting"))
    assert not over(status("llm", "stopping"))
    with pytest.raises(CliError, match="answered with HTTP 404"):
        over(status("llm", "failed", lastError=last_error("The probe was answered with HTTP 404.")))


def test_a_start_that_somebody_stops_says_so() -> None:
    over = follow.hot()
    assert not over(status("llm", "starting"))
    assert not over(status("llm", "stopping"))
    with pytest.raises(CliError, match="stopped by somebody else"):
        over(status("llm", "cold"))


def test_a_stop_that_the_start_waits_for_is_no_end() -> None:
    """Started while it was still being stopped: the start follows behind."""
    over = follow.hot()
    assert not over(status("llm", "stopping"))
    assert not over(status("llm", "starting"))
    assert over(status("llm", "hot"))
