"""The keys of one item of `instances`. What a list of them becomes is for `several`."""

from __future__ import annotations

from typing import Annotated, Final

from hestia.config.keys import EngineKeys, Keys, key
from hestia.config.machines import MachineName
from hestia.config.values import Address, Duration, Many, Real, Text

EXAMPLE: Final = "[{url: http://llm-a:8000, weight: 2}, {url: http://llm-b:8000}]"


class InstanceKeys(Keys):
    """One item of `instances`."""

    url: Annotated[str, Address()] = key(
        "",
        "Where this instance answers. `{port}` is a free port, a new one for each start.",
        example="http://llm-a:8000",
        shown="none; engine process with `{port}` in its command: http://127.0.0.1:{port}",
    )
    name: Annotated[str, Text("a name of small letters, digits, '.', '_' and '-'")] = key(
        "",
        "Its id in status, logs and `routing`. It stays the same over reloads.",
        example="big-gpu",
        shown="host, port and path of `url`: llm-a-8000; with `{port}` in it, its place: instance-2",
    )
    weight: Annotated[float, Real(0.001, 1e6)] = key(1.0, "Its share, for strategies.", example=2)
    region: Annotated[str, Text("a name")] = key(
        "", "Where it is, for strategies.", example="eu", shown="none"
    )
    models: Annotated[tuple[str, ...], Many(Text("a model or a glob"), "[llama3]")] = key(
        (), "Models that it has, for `model_router`: names and globs.", example=["llama3", "mistral*"]
    )
    machine: Annotated[str, MachineName()] = key(
        "", "Where it runs.", example="local", shown="as `machine` of the service"
    )
    engine: EngineKeys | None = key(
        None,
        "Who starts and stops it.",
        example={"type": "process", "command": ["my-server", "--port", "{port}"]},
        shown="as `engine` of the service",
    )
    health_url: Annotated[str, Address(query=True)] = key(
        "",
        "Asked while it starts; it is ready when this answers 2xx.",
        example="http://llm-a:8000/health",
        shown="the path of the service's `health_url` at its own address",
    )
    warmup: Annotated[float, Duration(least=0.0)] = key(
        None, "Wait this long after the start.", example="5s", shown="as `warmup` of the service"
    )
