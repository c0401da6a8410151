"""Hypothesis profiles: `quick` by default and repeatable, `thorough` with HYPOTHESIS_PROFILE=thorough.

And what every test leaves as it was: the log level of this process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

settings.register_profile(
    "quick",
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile(
    "thorough",
    max_examples=1500,
    stateful_step_count=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    deadline=None,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def _log_level_as_before() -> Iterator[None]:
    """A gateway that takes another log level, at its start or by a reload, takes it for its whole process."""
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)
