"""Fixtures of the integration tests, for fuzzing."""

from tests.integration.conftest import (  # noqa: F401
    connect,
    gateway,
    gw,
    leaks,
    pytest_asyncio_loop_factories,
    raw,
    upstream,
)
