"""Long tests under load, for `./scripts/dev.sh test load`. Their real servers are those of tests/e2e."""

from tests.e2e.conftest import real_python

__all__ = ["real_python"]
