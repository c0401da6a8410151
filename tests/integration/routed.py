"""Services with strategies for these tests: configurations as people write them, at upstreams of the test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hestia.config import load
from hestia.core.model import ServiceId, ServiceSettings, Settings
from hestia.engines.registry import load_engines
from hestia.strategies.registry import Finder
from tests.fakes.client import Client
from tests.fakes.wire import request

FINDER = Finder()
ENGINES = {name: plugin.Options for name, plugin in load_engines().items()}


def configured(folder: Path, text: str, hosts: Mapping[str, str] = {}) -> Settings:
    """The settings of this file. hosts: what is written in it → what stands there instead."""
    for name, instead in hosts.items():
        assert name in text, name
        text = text.replace(name, instead)
    folder.mkdir(exist_ok=True)
    (folder / "hestia_config.yml").write_text(text, encoding="utf-8")
    return load(path=None, environ={}, cwd=str(folder), engines=ENGINES, strategies=FINDER)


def only(settings: Settings) -> ServiceSettings:
    """Its one service."""
    (service,) = settings.services.values()
    return service


def named(settings: Settings, name: str) -> ServiceSettings:
    return settings.services[ServiceId(name)]


async def served_by(client: Client, target: str, body: bytes | None = None, *fields: tuple[str, str]) -> str:
    """Which upstream answered (`X-Upstream`); POST where there is a body."""
    method = "GET" if body is None else "POST"
    await client.send(request(method, target, *fields, body=body))
    await client.head(method)
    answer = await client.body()
    assert answer.status == 200, (answer.status, answer.body)
    return answer.all("x-upstream")[0].decode()


async def document(client: Client, path: str, *fields: tuple[str, str]) -> Any:
    """JSON, hence Any."""
    await client.send(request("GET", path, *fields))
    return (await client.response()).json()
