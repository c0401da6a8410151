"""Reading settings: file, environment and command line → `core.model.Settings`. Re-exports only."""

from hestia.config.errors import ConfigProblems, Problem
from hestia.config.load import load
from hestia.config.schema import json_schema
from hestia.config.show import Row, effective

__all__ = ["ConfigProblems", "Problem", "Row", "effective", "json_schema", "load"]
