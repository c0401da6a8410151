"""Health, readiness, configuration, landing and help."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import httpx
import pytest

import hestia.core.errors as tree
from hestia.api.error_texts import ERRORS
from hestia.config import Problem
from tests.fakes.control import FakeControl, FakeReloads

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def codes(base: type[tree.HestiaError]) -> Iterator[str]:
    yield base.code
    for child in base.__subclasses__():
        yield from codes(child)


async def test_healthz_and_readyz_are_200_while_all_is_well(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        response = await client.get(path)
        assert response.status_code == 200
        assert response.json() == {
            "status": "ok",
            "ready": True,
            "problems": [],
            "version": "0.1.0",
            "startedAt": "2026-01-31T12:03:04.120Z",
        }


async def test_draining_is_healthy_but_not_ready(client: httpx.AsyncClient, control: FakeControl) -> None:
    control.own = dataclasses.replace(control.own, ready=False)
    assert (await client.get("/healthz")).status_code == 200
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["status"] == "draining"


async def test_ob10_what_does_not_move_is_named(client: httpx.AsyncClient, control: FakeControl) -> None:
    control.own = dataclasses.replace(control.own, ok=False, problems=("loop_lag", "store"))
    for path in ("/healthz", "/readyz"):
        response = await client.get(path)
        assert response.status_code == 503
        assert response.json()["problems"] == ["loop_lag", "store"]
        assert response.json()["status"] == "failing"


async def test_config_names_the_source_of_each_value(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/config")).json() == {
        "path": "hestia_config.yml",
        "settings": [
            {"key": "services.ollama.idle_timeout", "value": 1800, "source": "hestia_config.yml:4"},
            {
                "key": "gateway.semaphore_api_key",
                "value": "***",
                "source": "environment: SEMAPHORE_API_KEY",
            },
        ],
        "warnings": ["access control is off"],
        "reload": None,
    }


async def test_a_reload_answers_what_changed_or_what_is_wrong_and_the_last_one_stays_to_be_seen(
    client: httpx.AsyncClient, reloads: FakeReloads
) -> None:
    assert (await client.get("/v1/config/reload")).json() is None
    done = (await client.post("/v1/config/reload", headers={"x-request-id": "req_1"})).json()
    assert (done["ok"], done["added"], done["actor"]) == (True, ["new"], "api:req_1")
    reloads.problems = (Problem(source="a.yml", line=3, column=5, key="prot", text="none", nearest="port"),)
    refused = await client.post("/v1/config/reload")
    assert refused.status_code == 409
    assert refused.json()["problems"] == [
        {
            "source": "a.yml",
            "line": 3,
            "column": 5,
            "key": "prot",
            "text": "none",
            "nearest": "port",
            "remedy": "",
        }
    ]
    assert refused.json()["needsRestart"] == ["port"]
    assert (await client.get("/v1/config/reload")).json() == refused.json()


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/help", "/help/"])
async def test_fm13_landing_is_a_page_for_browsers_and_a_document_for_programs(
    client: httpx.AsyncClient, path: str
) -> None:
    document = (await client.get(path)).json()
    assert document["name"] == "hestia"
    assert [service["serviceId"] for service in document["services"]] == ["ollama", "whisper"]
    page = await client.get(path, headers=BROWSER)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert 'href="/services/ollama/"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for foreign in ("http://", "https://", "<script", "<style", "style="):
        assert foreign not in page.text


async def test_landing_names_only_links_that_answer(client: httpx.AsyncClient) -> None:
    document = (await client.get("/")).json()
    for path in document["links"].values():
        assert (await client.get(path)).status_code == 200
    for service in document["services"]:
        assert (await client.get(service["status"])).status_code == 200


@pytest.mark.parametrize("path", ["/v1/services/", "/v1/services/ollama/status/", "/healthz/"])
async def test_fm13_final_slash_does_not_matter(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


def test_dc08_every_code_has_a_page_and_no_page_is_left_over() -> None:
    assert set(codes(tree.HestiaError)) == set(ERRORS)


@pytest.mark.parametrize("code", sorted(ERRORS))
async def test_dc08_help_of_every_code_answers_both_ways(client: httpx.AsyncClient, code: str) -> None:
    document = (await client.get(f"/help/errors/{code}")).json()
    assert document["code"] == code
    assert document["do"]
    page = await client.get(f"/help/errors/{code}", headers=BROWSER)
    assert page.status_code == 200
    assert code in page.text


async def test_help_of_an_unknown_code_names_the_nearest(client: httpx.AsyncClient) -> None:
    response = await client.get("/help/errors/queue_timeot")
    assert response.status_code == 404
    assert '"queue_timeout"' in response.json()["detail"]


async def test_error_codes_are_listed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/help/errors")).json() == list(ERRORS)


def test_et08_help_uses_plain_words() -> None:
    banned = ("please", "oops", "invalid input", "see the logs", "contact", "unfortunately", "backend")
    for text in ERRORS.values():
        words = " ".join((text.meaning, *text.do)).lower()
        assert not [word for word in banned if word in words]


@pytest.mark.parametrize("path", ["/healthz", "/v1/services/ollama/status", "/v1/services", "/nowhere"])
async def test_er07_head_is_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    assert head.headers == got.headers
