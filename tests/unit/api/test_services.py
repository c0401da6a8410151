"""Calls below /v1/services through the fake: what they answer and what they ask of the gateway."""

from __future__ import annotations

import httpx
import pytest

from hestia.core.errors import GatewayDraining, StartFailed
from tests.fakes.control import FakeControl, service_status

SEED_FIELDS = ["serviceId", "state", "machineId", "readiness", "queuePending"]


async def test_status_begins_with_the_five_fields_of_the_seeds(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/services/ollama/status")
    assert response.status_code == 200
    assert list(response.json())[:5] == SEED_FIELDS
    assert (
        response.json()
        | {
            "serviceId": "ollama",
            "state": "cold",
            "machineId": "local",
            "readiness": "not_ready",
            "queuePending": 0,
            "inFlight": 0,
            "idleTimeoutMs": None,
            "startedAt": None,
        }
        == response.json()
    )
    assert response.headers["cache-control"] == "no-store"


async def test_status_has_automation_as_the_contract_says(client: httpx.AsyncClient) -> None:
    document = (await client.get("/v1/services/ollama/status")).json()
    assert document["automation"] == {
        "enabled": False,
        "provider": None,
        "machine_id": None,
        "current_task": None,
        "last_task": None,
    }


@pytest.mark.parametrize(
    ("phase", "state", "readiness"),
    [
        ("cold", "cold", "not_ready"),
        ("starting", "starting", "not_ready"),
        ("hot", "hot", "ready"),
        ("suspect", "hot", "ready"),
        ("draining", "stopping", "not_ready"),
        ("stopping", "stopping", "not_ready"),
        ("failed", "cold", "not_ready"),
    ],
)
async def test_state_is_one_of_four_words_and_phase_is_exact(
    client: httpx.AsyncClient, control: FakeControl, phase: str, state: str, readiness: str
) -> None:
    control.known = {**FakeControl(service_status("ollama", phase)).known}
    document = (await client.get("/v1/services/ollama/status")).json()
    assert (document["state"], document["phase"], document["readiness"]) == (state, phase, readiness)
    assert document["instances"][0]["phase"] == phase


async def test_failed_service_carries_its_error_and_remedy(
    client: httpx.AsyncClient, control: FakeControl
) -> None:
    control.known = {**FakeControl(service_status("ollama", "failed")).known}
    error = (await client.get("/v1/services/ollama/status")).json()["lastError"]
    assert error["code"] == "service_start_failed"
    assert error["remedy"] == "hestia logs ollama"
    assert error["at"] == "2026-01-31T12:03:04.120Z"
    assert error["tail"] == ["no such model"]


async def test_list_is_an_array_of_status_documents(client: httpx.AsyncClient) -> None:
    documents = (await client.get("/v1/services")).json()
    assert [document["serviceId"] for document in documents] == ["ollama", "whisper"]
    assert documents[1] == (await client.get("/v1/services/whisper/status")).json()


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
async def test_list_of_any_length_is_whole(
    client: httpx.AsyncClient, control: FakeControl, count: int
) -> None:
    names = [f"s{number}" for number in range(count)]
    control.known = {**FakeControl(*(service_status(name) for name in names)).known}
    documents = (await client.get("/v1/services")).json()
    assert [document["serviceId"] for document in documents] == names


async def test_start_answers_202_with_the_status(client: httpx.AsyncClient, control: FakeControl) -> None:
    response = await client.post("/v1/services/ollama/start", headers={"x-request-id": "req_1"})
    assert response.status_code == 202
    assert response.json()["state"] == "starting"
    assert response.headers["location"] == "/v1/services/ollama/status"
    assert control.calls == [("start", "ollama", "api:req_1")]


@pytest.mark.parametrize("phase", ["starting", "hot"])
async def test_start_of_a_running_service_answers_409_with_the_status(
    client: httpx.AsyncClient, control: FakeControl, phase: str
) -> None:
    control.known = {**FakeControl(service_status("ollama", phase)).known}
    response = await client.post("/v1/services/ollama/start")
    assert response.status_code == 409
    assert list(response.json())[:5] == SEED_FIELDS
    assert response.json()["state"] == phase


@pytest.mark.parametrize("phase", ["cold", "starting", "hot"])
async def test_start_with_wait_answers_200_when_hot(
    client: httpx.AsyncClient, control: FakeControl, phase: str
) -> None:
    control.known = {**FakeControl(service_status("ollama", phase)).known}
    response = await client.post("/v1/services/ollama/start?wait=true&timeout=12.5")
    assert response.status_code == 200
    assert response.json()["readiness"] == "ready"
    assert control.calls[-1] == ("wait_hot", "ollama", 12.5)


async def test_start_with_wait_that_fails_is_a_problem_with_the_reason(
    client: httpx.AsyncClient, control: FakeControl
) -> None:
    control.start_result = StartFailed("ollama exited with status 3.", exit_status=3, service_id="ollama")
    response = await client.post("/v1/services/ollama/start?wait=true")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "service_start_failed"
    assert "status 3" in response.json()["detail"]
    assert response.json()["serviceId"] == "ollama"


async def test_start_with_wait_past_its_timeout_says_when_to_ask_again(
    client: httpx.AsyncClient, control: FakeControl
) -> None:
    control.never_hot = True
    response = await client.post("/v1/services/ollama/start?wait=true&timeout=1")
    assert response.status_code == 503
    assert response.json()["code"] == "queue_timeout"
    assert response.headers["retry-after"] == "5"


@pytest.mark.parametrize("call", ["start", "stop", "restart"])
async def test_change_while_the_gateway_drains_is_a_503_problem(
    client: httpx.AsyncClient, control: FakeControl, call: str
) -> None:
    control.refuse = GatewayDraining("The gateway is stopping.", retry_after=30.0)
    response = await client.post(f"/v1/services/ollama/{call}")
    assert response.status_code == 503
    assert response.json()["code"] == "shutting_down"


@pytest.mark.parametrize(("query", "force"), [("", False), ("?force=true", True), ("?force=false", False)])
@pytest.mark.parametrize("call", ["stop", "restart"])
async def test_stop_and_restart_answer_202_and_pass_force_on(
    client: httpx.AsyncClient, control: FakeControl, call: str, query: str, force: bool
) -> None:
    response = await client.post(f"/v1/services/whisper/{call}{query}")
    assert response.status_code == 202
    assert response.json()["state"] == "stopping"
    assert control.calls == [(call, "whisper", (force, "api"))]


async def test_only_status_probes(client: httpx.AsyncClient, control: FakeControl) -> None:
    await client.get("/v1/services/ollama/status")
    await client.post("/v1/services/ollama/start")
    await client.post("/v1/services/ollama/stop")
    assert control.probes == [True, False, False]
