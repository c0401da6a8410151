"""Hestia: one address that wakes services on demand, streams through them and lets them sleep."""

__version__ = "0.1.0"
