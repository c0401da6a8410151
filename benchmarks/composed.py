"""A gateway for `guard` and `steps`: composed and started, but fed by hand through `hot_path.Path`."""

from __future__ import annotations

import io
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.hot_path import SERVICE, Path
from hestia.app import Hestia
from hestia.core.model import GatewaySettings, InstanceId, InstanceSettings, ServiceSettings, Settings


@asynccontextmanager
async def composed(*, access_log: bool = True) -> AsyncIterator[Path]:
    """One hot service, one client connection, one idle upstream connection. Ends what was begun."""
    instance = InstanceSettings(id=InstanceId("main"), base_url="http://127.0.0.1:9")
    service = ServiceSettings(id=SERVICE, instances=(instance,))
    with tempfile.TemporaryDirectory() as folder:
        gateway = GatewaySettings(port=0, state_dir=folder, log_format="json", access_log=access_log)
        hestia = Hestia(Settings(gateway=gateway, services={SERVICE: service}), access_log=io.BytesIO())
        await hestia.start()
        try:
            path = Path(hestia)
            yield path
            path.client.cut()
            path.client.connection_lost(None)
            path.upstream.connection_lost(None)
        finally:
            await hestia.aclose(drain=0.0)
