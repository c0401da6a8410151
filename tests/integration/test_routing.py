"""What routing takes of a request and gives to an answer, over real sockets: bodies, cookies, own files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.model import Settings
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import head, request

from .conftest import MakeClient
from .harness import Gateway, MakeGateway
from .routed import configured, document, only, served_by

JSON = ("Content-Type", "application/json")
LLM = """
services:
  a:
    base_url: "MAIN"
    strategy: model_router
    instances:
      - {name: one, url: "ONE"}
      - {name: two, url: "TWO"}
    routing: {by_model: {m1: one, m2: two}, peek_max: 64KiB}
"""
OWN = """
from pydantic import BaseModel, ConfigDict
class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
class Own:
    name, version, features, Options = "own", "VERSION", (), Options
    def __init__(self, options, instances): pass
    def rank(self, asked, candidates): return WHAT
def register_strategy(registry): registry.register(Own)
"""
OWN_SERVICE = """
services:
  a:
    strategy: own
    instances:
      - {name: one, url: "ONE"}
      - {name: two, url: "TWO"}
"""
ECHO = "/services/a/echo"
PARTS = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm2\r\n--B--'


@pytest.fixture
async def ups(leaks: None) -> AsyncIterator[dict[str, HttpUpstream]]:
    made = {name: await HttpUpstream(name).start() for name in ("ONE", "TWO", "MAIN")}
    yield made
    for one in made.values():
        await one.aclose()


@pytest.fixture
async def llm(gateway: MakeGateway, ups: dict[str, HttpUpstream], tmp_path: Path) -> Gateway:
    settings = configured(tmp_path / "conf", LLM, {name: up.url for name, up in ups.items()})
    gw = await gateway(only(settings), hot=False)
    await gw.status("a", probe=True)
    await gw.until(lambda seen: all(one.phase == "hot" for one in seen.instances), "all hot")
    return gw


async def test_a_body_comes_whole_and_unchanged_however_it_is_cut(llm: Gateway, connect: MakeClient) -> None:
    client = await connect(llm)
    body = json.dumps({"prompt": "x" * 3000, "model": "m2"}).encode()
    data = request("POST", ECHO, JSON, body=body)
    await client.send(data, at=[len(data) - 2500, len(data) - 12, len(data) - 3])
    answer = await client.response("POST")
    assert answer.all("x-upstream") == [b"TWO"]
    assert answer.json()["size"] == len(body)


async def test_a_chunked_body_is_searched_too(llm: Gateway, connect: MakeClient) -> None:
    client = await connect(llm)
    start = head(f"POST {ECHO} HTTP/1.1", [("Host", "localhost"), JSON, ("Transfer-Encoding", "chunked")])
    await client.send(start + b'8\r\n{"model"\r\n')
    await client.send(b'6\r\n: "m2"\r\n')
    await llm.until_in_flight(1)  # it is routed before its body has ended
    await client.send(b"1\r\n}\r\n0\r\n\r\n")
    answer = await client.response("POST")
    assert answer.all("x-upstream") == [b"TWO"]
    assert answer.json()["size"] == 15


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"a=1&model=m2"),
        (
            "multipart/form-data; boundary=B",
            PARTS,
        ),
        ("application/vnd.api+json", b'{"model":"m2"}'),
    ],
)
async def test_forms_name_their_model(llm: Gateway, connect: MakeClient, kind: str, body: bytes) -> None:
    assert await served_by(await connect(llm), ECHO, body, ("Content-Type", kind)) == "TWO"


async def test_the_query_names_it_as_well_and_comes_first(llm: Gateway, connect: MakeClient) -> None:
    client = await connect(llm)
    assert await served_by(client, f"{ECHO}?model=m2") == "TWO"
    assert await served_by(client, f"{ECHO}?model=m1", b'{"model":"m2"}', JSON) == "ONE"


async def test_t_sb_11_a_key_beyond_the_peek_is_not_waited_for_and_memory_stays_bounded(
    llm: Gateway, connect: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A large body whose key is at its end: the fallback order, with a line in the log."""
    caplog.set_level("INFO")
    client = await connect(llm)
    size = 24 * 2**20
    fields = [("Host", "localhost"), JSON, ("Content-Length", str(size))]
    start = head("POST /services/a/upload HTTP/1.1", fields)
    await client.send(start + b'{"prompt":"')
    most, left = 0, size - len(b'{"prompt":"')
    while left:
        piece = b"x" * min(left, 2**18)
        await client.send(piece)
        left -= len(piece)
        most = max(most, llm.hestia.buffers.held)
    answer = await client.response("POST")
    assert answer.status == 200
    assert answer.json()["size"] == size
    assert most < 2 * 2**20, "what is searched, and a copy for another attempt at most"
    assert "not within the first 65536 bytes" in caplog.text


async def test_who_waits_to_be_asked_for_the_body_is_asked(llm: Gateway, connect: MakeClient) -> None:
    """To know the model takes the body, so it is invited before the service has it (CQ-07)."""
    client = await connect(llm)
    body = b'{"model":"m2"}'
    data = request("POST", ECHO, JSON, ("Expect", "100-continue"), body=body)
    await client.send(data[: -len(body)])
    await client.got(b"HTTP/1.1 100 Continue\r\n\r\n")
    await client.send(body)
    answer = await client.response("POST")
    assert answer.all("x-upstream") == [b"TWO"]


async def test_a_client_that_leaves_while_its_body_is_searched_leaves_nothing(
    llm: Gateway, connect: MakeClient
) -> None:
    client = await connect(llm)
    start = head(f"POST {ECHO} HTTP/1.1", [("Host", "localhost"), JSON, ("Content-Length", "1000")])
    await client.send(start + b'{"pro')
    await eventually(lambda: llm.hestia.buffers.held > 0, lambda: "a part of the body")
    client.reset()
    await llm.at_rest()


async def test_explain_names_the_strategy_and_its_reason(llm: Gateway, connect: MakeClient) -> None:
    client = await connect(llm)
    await client.send(request("POST", ECHO, JSON, ("X-Request-ID", "why-1"), body=b'{"model":"m2"}'))
    await client.response("POST")
    await client.send(request("GET", "/v1/requests/why-1"))
    told = (await client.response()).json()
    assert told["instance"] == "two"
    assert told["matched"] == "matched service a by its path; instance chosen by model_router: by model"


async def test_a_sticky_client_keeps_its_instance(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient, tmp_path: Path
) -> None:
    text = """
services:
  a:
    strategy: load_balancer
    instances: [{name: one, url: "ONE"}, {name: two, url: "TWO"}, {name: three, url: "MAIN"}]
    routing: {sticky: {cookie: at, max_age: 1h}}
"""
    settings = configured(tmp_path / "conf", text, {name: up.url for name, up in ups.items()})
    gw = await gateway(only(settings), hot=False)
    await gw.status("a", probe=True)
    client = await connect(gw)
    await client.send(request("GET", ECHO))
    first = await client.response()
    (line,) = first.all("set-cookie")
    cookie, *attributes = line.decode().split("; ")
    assert attributes == ["Path=/services/a/", "HttpOnly", "SameSite=Lax", "Max-Age=3600"]
    for _ in range(5):
        await client.send(request("GET", ECHO, ("Cookie", f"other=1; {cookie}")))
        again = await client.response()
        assert again.all("x-upstream") == first.all("x-upstream")
        assert again.all("set-cookie") == []


# -- files of one's own ------------------------------------------------------------------------------


def write(folder: Path, what: str, version: str = "1") -> None:
    (folder / "strategies").mkdir(parents=True, exist_ok=True)
    text = OWN.replace("WHAT", what).replace("VERSION", version)
    (folder / "strategies" / "own.py").write_text(text, encoding="utf-8")


async def with_own(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], folder: Path, what: str
) -> tuple[Gateway, Settings]:
    write(folder, what)
    settings = configured(folder, OWN_SERVICE, {name: up.url for name, up in ups.items() if name != "MAIN"})
    gw = await gateway(only(settings), hot=False)
    await gw.status("a", probe=True)
    return gw, settings


async def test_a_file_that_changes_is_used_at_once_and_a_broken_one_changes_nothing_else(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient, tmp_path: Path
) -> None:
    folder = tmp_path / "conf"
    gw, _ = await with_own(gateway, ups, folder, "candidates[:1]")
    client = await connect(gw)
    assert await served_by(client, ECHO) == "ONE"
    for what, version, expected in (("candidates[1:]", "2", "TWO"), ("[", "3", "ONE")):
        write(folder, what, version)
        new = configured(folder, OWN_SERVICE, {name: up.url for name, up in ups.items() if name != "MAIN"})
        gw.configuration.settings = Settings(
            gateway=gw.configuration.settings.gateway, services=new.services, strategies=new.strategies
        )
        reload = await gw.hestia.reloads.reload("test")
        assert reload.ok
        assert await served_by(client, ECHO) == expected
    told = await document(client, "/v1/strategies")
    (failed,) = told["failed_strategies"]
    assert failed["file"].endswith("own.py")
    assert "SyntaxError" in failed["detail"]
    assert "load_balancer" in told["loaded_strategies"]


async def test_t_ss_06_a_strategy_that_returns_a_foreign_url_is_an_error(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient, tmp_path: Path
) -> None:
    gw, _ = await with_own(gateway, ups, tmp_path / "conf", '["http://169.254.169.254/"]')
    client = await connect(gw)
    await client.send(request("GET", ECHO))
    answer = await client.response()
    assert answer.status == 500
    assert answer.json()["code"] == "strategy_error"
    assert 'The strategy "own" named' in answer.json()["detail"]


async def test_t_se_05_a_cookie_of_a_strategy_that_splits_headers_is_never_sent(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient, tmp_path: Path
) -> None:
    what = (
        "__import__('hestia.core.strategy').core.strategy.Ranking((candidates[0].id,), sticky="
        "__import__('hestia.core.strategy').core.strategy.Sticky('a', {candidates[0].id: 'x\\r\\nevil: 1'}))"
    )
    gw, _ = await with_own(gateway, ups, tmp_path / "conf", what)
    client = await connect(gw)
    await client.send(request("GET", ECHO))
    answer = await client.response()
    assert answer.status == 500
    assert answer.json()["code"] == "strategy_error"
    assert not answer.has("evil")


async def test_one_that_raises_costs_its_request_nothing_and_is_counted(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient, tmp_path: Path
) -> None:
    gw, _ = await with_own(gateway, ups, tmp_path / "conf", "candidates[9].id")
    client = await connect(gw)
    assert await served_by(client, ECHO) == "ONE"
    await client.send(request("GET", "/metrics"))
    text = bytes((await client.response()).body).decode()
    assert 'hestia_strategy_errors_total{service="a",strategy="own"} 1' in text


async def test_the_document_has_the_form_of_the_seeds(llm: Gateway, connect: MakeClient) -> None:
    told = await document(await connect(llm), "/v1/strategies")
    assert set(told) == {"loaded_strategies", "failed_strategies", "service_configurations"}
    configurations = told["service_configurations"]
    assert configurations["a"]["strategy"] == "model_router"
    assert [one["id"] for one in configurations["a"]["instances"]] == ["one", "two", "main"]
    assert configurations["a"]["routing"] == {"by_model": {"m1": "one", "m2": "two"}, "peek_max": "64KiB"}
