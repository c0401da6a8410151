"""Merged lists of models over real sockets: of whom they are asked, and who is shown them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hestia.core.model import InstanceId, InstanceSettings, ServiceId, ServiceSettings
from hestia.core.strategy import StrategySettings
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import Connection
from tests.fakes.wire import Request, answer

from .conftest import MakeClient
from .harness import Gateway, MakeGateway
from .routed import FINDER, configured, document, only, served_by


class Models(HttpUpstream):
    """Has models. listed: how often it was asked."""

    def __init__(self, name: str, *models: str) -> None:
        super().__init__(name)
        self.models = models
        self.listed = 0

    async def _answer(self, connection: Connection, request: Request, page: str) -> None:
        if page not in ("models", "tags"):
            await super()._answer(connection, request, page)
            return
        self.listed += 1
        who = (request.get("authorization") or b"").decode()
        if page == "models":
            names = [f"{one}{who}" for one in self.models]
            body = {"object": "list", "data": [{"id": one, "owned_by": self.name} for one in names]}
        else:
            body = {"models": [{"name": one, "model": one} for one in self.models]}
        await connection.send(answer(json.dumps(body).encode(), ("Content-Type", "application/json")))


async def test_lists_of_models_are_merged_and_nobody_is_woken(
    gateway: MakeGateway, connect: MakeClient, tmp_path: Path
) -> None:
    text = """
services:
  a:
    strategy: model_router
    instances:
      - {name: one, url: "ONE"}
      - {name: two, url: "TWO"}
      - {name: three, url: "http://127.0.0.1:9", models: [sleeper, "other*"]}
    routing: {merge_models: true}
"""
    async with Models("ONE", "m1", "both") as one, Models("TWO", "both", "m2") as two:
        settings = configured(tmp_path / "conf", text, {"ONE": one.url, "TWO": two.url})
        service = only(settings)
        three = replace(service.instances[2], engine="fake", base_url="http://127.0.0.1:{port}")
        service = replace(service, instances=(*service.instances[:2], three))
        gw = await gateway(service, hot=False, wakes={"a": one})
        await gw.status("a", probe=True)
        client = await connect(gw)
        listed = await document(client, "/services/a/v1/models")
        assert [entry["id"] for entry in listed["data"]] == ["m1", "both", "m2", "sleeper"]
        assert listed["data"][1]["owned_by"] == "ONE"
        tags = await document(client, "/services/a/api/tags")
        assert [entry["name"] for entry in tags["models"]] == ["m1", "both", "m2", "sleeper"]
        gw.hestia.gateway.stop(ServiceId("a"), force=False, actor="test")
        await gw.until_phase("cold")
        counts = (one.listed, two.listed)
        listed = await document(client, "/services/a/v1/models")
        assert [entry["id"] for entry in listed["data"]] == ["m1", "both", "m2", "sleeper"], "as last seen"
        assert (one.listed, two.listed) == counts
        assert (await gw.status("a")).phase == "cold"


def asleep(url: str = "http://127.0.0.1:{port}") -> ServiceSettings:
    """Service `a`, one instance that is started on demand; `known` is configured."""
    plugin = FINDER("").loaded["model_router"].plugin
    options = plugin.Options.model_validate({"merge_models": True, "by_model": {"m": "one"}})
    one = InstanceSettings(id=InstanceId("one"), base_url=url, engine="fake", models=("known",))
    chosen = StrategySettings("model_router", plugin, options)
    return ServiceSettings(id=ServiceId("a"), instances=(one,), strategy=chosen)


async def fall_asleep(gw: Gateway) -> None:
    gw.hestia.gateway.stop(ServiceId("a"), force=False, actor="test")
    await gw.until_phase("cold")


async def test_a_list_that_was_asked_for_with_credentials_is_shown_to_nobody_else(
    gateway: MakeGateway, connect: MakeClient
) -> None:
    """Neither a moment later nor when the instance sleeps; without credentials everybody is told the same."""
    async with Models("ONE", "m") as one:
        gw = await gateway(asleep(), hot=False, wakes={"a": one})
        client = await connect(gw)
        await served_by(client, "/services/a/echo")

        async def models(*credentials: str) -> list[str]:
            fields = [("Authorization", one) for one in credentials]
            listed = await document(client, "/services/a/v1/models", *fields)
            return [entry["id"] for entry in listed["data"]]

        assert await models("-alice") == ["m-alice"]
        assert await models("-bob") == ["m-bob"]
        await fall_asleep(gw)
        assert await models("-alice") == ["m-alice"], "as last seen, by her"
        assert await models("-carol") == ["known"]
        assert await models() == ["known"]
        await served_by(client, "/services/a/echo")
        assert await models() == ["m"]
        await fall_asleep(gw)
        assert await models("-carol") == ["m"]


async def test_what_an_instance_listed_is_forgotten_when_it_is_configured_elsewhere(
    gateway: MakeGateway, connect: MakeClient
) -> None:
    async with Models("ONE", "m") as one:
        gw = await gateway(asleep(), hot=False, wakes={"a": one})
        client = await connect(gw)
        await served_by(client, "/services/a/echo")
        assert (await document(client, "/services/a/api/tags"))["models"] == [{"name": "m", "model": "m"}]
        await fall_asleep(gw)
        assert (await gw.reload(asleep("http://127.0.0.2:{port}"))).ok
        told = await document(client, "/services/a/api/tags")
        assert [entry["name"] for entry in told["models"]] == ["known"]
        assert (await gw.reload(asleep())).ok
        told = await document(client, "/services/a/api/tags")
        assert [entry["name"] for entry in told["models"]] == ["known"], "it was dropped, not hidden"
