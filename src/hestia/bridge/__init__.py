"""The gateway as an ASGI application, for `uvicorn hestia.app:app`."""

from hestia.bridge.application import Bridge, Running

__all__ = ["Bridge", "Running"]
