"""`hestia semaphore` against the stand-in: what it makes, what it misses, its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.contract.process_machine import free_port
from tests.e2e.cli import Caller, Ran
from tests.e2e.semaphore import SemaphoreProgram, semaphore_program

pytestmark = pytest.mark.e2e
BOOTSTRAP = ("semaphore", "bootstrap", "--project", "boot")


@pytest.fixture(scope="module")
def semaphore() -> Iterator[SemaphoreProgram]:
    with semaphore_program() as program:
        yield program


@pytest.fixture
def hestia(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    semaphore: SemaphoreProgram,
) -> Caller:
    """Calls in an empty folder; the admin's password is in the environment."""
    semaphore.lift()
    monkeypatch.chdir(tmp_path)
    for name in ("SEMAPHORE_API_KEY", "SEMAPHORE_PROJECT", "SEMAPHORE_ADMIN", "SEMAPHORE_ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HESTIA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HESTIA_ENV_SERVICES", "off")
    monkeypatch.setenv("SEMAPHORE_BASE_URL", semaphore.url)
    monkeypatch.setenv("SEMAPHORE_ADMIN_PASSWORD", "admin")
    return Caller(capfd)


def configure(folder: Path, **options: object) -> None:
    """A file with one service that is started through Semaphore."""
    engine = {"type": "semaphore", "machine_id": "gpu-1", "start_template": "start", "stop_template": "stop"}
    service = {"base_url": "http://127.0.0.1:9", "engine": {**engine, **options}}
    text = yaml.safe_dump({"services": {"one": service}})
    (folder / "hestia_config.yml").write_text(text)


def failed(ran: Ran) -> dict[str, dict[str, Any]]:
    """The checks that failed or warn, of a call with --json."""
    found = json.loads(ran.out)
    assert found["ok"] is (ran.code == 0)
    assert all(one["do"] for one in found["findings"] if one["severity"] in ("warn", "fail")), found
    return {one["check"]: one for one in found["findings"] if one["severity"] in ("warn", "fail")}


# -- bootstrap ---------------------------------------------------------------------------------


def test_what_is_printed_is_an_environment_file_and_check_is_content(hestia: Caller, tmp_path: Path) -> None:
    ran = hestia(*BOOTSTRAP, "--machine", "gpu-1")
    assert ran.code == 0, ran
    names = [line.partition("=")[0] for line in ran.out.splitlines()]
    assert names == ["SEMAPHORE_BASE_URL", "SEMAPHORE_API_KEY", "SEMAPHORE_PROJECT"]
    (tmp_path / ".env").write_text(ran.out)
    configure(tmp_path)
    checked = hestia("semaphore", "check", "--json")
    assert (checked.code, failed(checked)) == (0, {}), checked.out
    told = {one["check"] for one in json.loads(checked.out)["findings"]}
    assert told >= {"server", "login", "version", "project", "role", "template", "playbook", "machine"}


def test_the_doctor_looks_at_the_semaphore_that_services_use(hestia: Caller, tmp_path: Path) -> None:
    def said(severity: str) -> dict[str, list[str]]:
        found = json.loads(hestia("doctor", "--json").out)["findings"]
        ours = [one for one in found if one["check"] == "semaphore" and one["severity"] == severity]
        return {one["text"].partition(":")[0]: one["do"] for one in ours}

    (tmp_path / "hestia_config.yml").write_text("services: {}\n")
    assert said("ok") == {}, "nobody uses it"
    (tmp_path / ".env").write_text(hestia(*BOOTSTRAP, "--machine", "gpu-1").out)
    configure(tmp_path)
    assert said("fail") == {}
    assert set(said("ok")) >= {"server", "version", "login", "project", "role", "template", "machine"}
    configure(tmp_path, start_template="strat")
    assert "hestia semaphore bootstrap" in said("fail")["template"]
    configure(tmp_path, api_key="wrong")
    assert "semaphore_api_key" in said("fail")["login"][0]
    configure(tmp_path, base_url=f"http://127.0.0.1:{free_port()}")
    assert "start Semaphore" in said("fail")["server"][0]


def test_a_second_run_changes_neither_the_server_nor_the_file(
    hestia: Caller, tmp_path: Path, semaphore: SemaphoreProgram
) -> None:
    words = (*BOOTSTRAP, "--user", "twice", "--write-env", ".env")
    (tmp_path / ".env").write_text("MINE=1\n")
    (tmp_path / ".env").chmod(0o644)
    first = hestia(*words)
    assert first.code == 0, first
    text = (tmp_path / ".env").read_text()
    assert text.startswith("MINE=1\nSEMAPHORE_BASE_URL=")
    assert "may read the token there: chmod 600 .env" in first.err
    token = text.split("SEMAPHORE_API_KEY=")[1].splitlines()[0]
    assert token not in first.out + first.err
    before = len(semaphore.calls())
    second = hestia(*words, "--json")
    document = json.loads(second.out)
    assert (second.code, document["changed"], second.err) == (0, False, "")
    assert {step["done"] for step in document["steps"]} == {"kept"}
    assert token not in second.out
    assert (tmp_path / ".env").read_text() == text
    calls = semaphore.calls()[before:]
    assert {call["path"] for call in calls if call["method"] != "GET"} == {"/api/auth/login"}


def test_an_address_for_the_gateway_may_be_another_one(hestia: Caller) -> None:
    ran = hestia(*BOOTSTRAP, "--env-url", "http://semaphore:3000/", "--json")
    assert json.loads(ran.out)["environment"]["SEMAPHORE_BASE_URL"] == "http://semaphore:3000"


@pytest.mark.parametrize("how", ["token", "file"])
def test_an_admin_may_be_known_by_a_token_or_a_file(
    hestia: Caller, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, semaphore: SemaphoreProgram
) -> None:
    monkeypatch.delenv("SEMAPHORE_ADMIN_PASSWORD")
    (tmp_path / "password").write_text("admin\n")
    if how == "token":
        monkeypatch.setenv("SEMAPHORE_ADMIN_TOKEN", semaphore.admin_token)
    ran = hestia(*BOOTSTRAP, *(() if how == "token" else ("--admin-password-file", "password")))
    assert ran.code == 0, ran


@pytest.mark.parametrize(
    ("password", "words", "code", "says"),
    [
        ("wrong", (), 4, "refuses the login of 'admin'"),
        ("", (), 2, "password of 'admin'"),
        ("admin", ("--project", "99"), 1, "no project 99"),
        ("admin", ("--server", "nowhere"), 2, "'nowhere' is no address of a server"),
        ("admin", ("--server", "http://127.0.0.1:{port}", "--wait", "0s"), 3, "cannot be reached"),
        ("admin", ("--machine", "a b"), 2, "'a b' is no machine"),
        ("admin", ("--machine", "a", "--inventory", "x"), 2, "give one of them"),
        ("admin", ("--inventory", "none.yml"), 2, "none.yml"),
        ("admin", ("--ssh-key", "none"), 2, "none"),
        ("admin", ("--stop-template", "start"), 2, "name two"),
        ("admin", ("--user", "Big"), 2, "'Big' is no login"),
        ("admin", ("--user", "gateway"), 1, "--user gateway-gateway"),
        ("admin", ("--write-env", "no/such/.env"), 1, "no/such"),
    ],
    ids=lambda part: str(part) if isinstance(part, str) else None,
)
def test_what_is_wrong_is_named_with_its_exit_code(
    hestia: Caller,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    monkeypatch.setenv("SEMAPHORE_ADMIN_PASSWORD", password)
    ran = hestia(*BOOTSTRAP, *(word.format(port=free_port()) for word in words))
    assert ran.code == code, ran
    assert says in ran.err
    assert ran.out == ""


# -- check -------------------------------------------------------------------------------------


def ready(hestia: Caller, folder: Path, **options: object) -> None:
    """A server that was set up, and a service."""
    assert hestia(*BOOTSTRAP, "--write-env", ".env", "--machine", "gpu-1").code == 0
    configure(folder, **options)


def test_check_without_a_server_names_its_address(
    hestia: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMAPHORE_BASE_URL", f"http://127.0.0.1:{free_port()}")
    configure(tmp_path)
    ran = hestia("semaphore", "check", "--json")
    assert ran.code == 1
    assert set(failed(ran)) == {"server"}


@pytest.mark.parametrize(
    ("variable", "value", "check"),
    [
        ("SEMAPHORE_API_KEY", "", "login"),
        ("SEMAPHORE_API_KEY", "stale", "login"),
        ("SEMAPHORE_PROJECT", "other", "project"),
    ],
)
def test_check_stops_at_what_is_to_be_mended_first(
    hestia: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, check: str
) -> None:
    ready(hestia, tmp_path)
    lines = (tmp_path / ".env").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(variable)]
    (tmp_path / ".env").write_text("\n".join([*kept, f"{variable}={value}"]) + "\n")
    ran = hestia("semaphore", "check", "--json")
    assert ran.code == 1
    assert set(failed(ran)) == {check}
    assert "hestia semaphore bootstrap" in failed(ran)[check]["do"]


def test_check_says_which_template_is_missing_and_which_there_are(hestia: Caller, tmp_path: Path) -> None:
    ready(hestia, tmp_path, start_template="begin")
    ran = hestia("semaphore", "check", "--json")
    fault = failed(ran)["template"]
    assert ran.code == 1
    assert "no template 'begin'" in fault["text"]
    assert "(start)" in fault["text"]


def test_check_says_that_a_template_takes_no_variables(
    hestia: Caller, tmp_path: Path, semaphore: SemaphoreProgram
) -> None:
    ready(hestia, tmp_path, start_template="bare")
    _add_template(semaphore, "bare", "start.yml", group=None)
    ran = hestia("semaphore", "check", "--json")
    assert ran.code == 1
    assert "has no variable group" in failed(ran)["template"]["text"]


def test_check_reads_the_playbook_where_it_can(
    hestia: Caller, tmp_path: Path, semaphore: SemaphoreProgram
) -> None:
    ready(hestia, tmp_path, start_template="lost")
    _add_template(semaphore, "lost", "lost.yml", group={"name": "own", "json": '{"hestia_machine": "x"}'})
    ran = hestia("semaphore", "check", "--json")
    assert ran.code == 1
    assert "lost.yml, which cannot be read" in failed(ran)["playbook"]["text"]
    assert "hestia_machine, and on this server that counts" in failed(ran)["template"]["text"]


def test_check_warns_of_a_machine_that_the_inventory_does_not_name(hestia: Caller, tmp_path: Path) -> None:
    ready(hestia, tmp_path, machine_id="gpu")
    ran = hestia("semaphore", "check", "--json")
    assert ran.code == 0
    assert "does not name gpu" in failed(ran)["machine"]["text"]


def test_check_of_a_user_who_may_not_run_tasks(
    hestia: Caller, tmp_path: Path, semaphore: SemaphoreProgram
) -> None:
    ready(hestia, tmp_path)
    with _admin(semaphore) as http:
        project = _project(http)
        (ours,) = [one for one in http.get(f"{project}/users").json() if one["username"] == "hestia"]
        assert http.put(f"{project}/users/{ours['id']}", json={"role": "guest"}).status_code == 204
    ran = hestia("semaphore", "check", "--json")
    assert ran.code == 1
    assert "guest" in failed(ran)["role"]["text"]
    assert hestia(*BOOTSTRAP, "--write-env", ".env").code == 0
    assert hestia("semaphore", "check", "-q").code == 0


def _admin(semaphore: SemaphoreProgram) -> httpx.Client:
    bearer = {"Authorization": f"Bearer {semaphore.admin_token}"}
    return httpx.Client(base_url=semaphore.url, headers=bearer, trust_env=False)


def _project(http: httpx.Client) -> str:
    (found,) = [one["id"] for one in http.get("/api/projects").json() if one["name"] == "boot"]
    return f"/api/project/{found}"


def _add_template(
    semaphore: SemaphoreProgram, name: str, playbook: str, *, group: dict[str, str] | None
) -> None:
    """A further template of the project, with this variable group."""
    with _admin(semaphore) as http:
        root = _project(http)
        project = int(root.rpartition("/")[2])
        fields: dict[str, object] = {
            "name": name,
            "playbook": playbook,
            "app": "ansible",
            "project_id": project,
        }
        for kind, key in (("repositories", "repository_id"), ("inventory", "inventory_id")):
            fields[key] = http.get(f"{root}/{kind}").json()[0]["id"]
        if group is not None:
            http.post(f"{root}/environment", json={**group, "project_id": project})
            groups = http.get(f"{root}/environment").json()
            fields["environment_id"] = next(one["id"] for one in groups if one["name"] == group["name"])
        assert http.post(f"{root}/templates", json=fields).status_code == 201


# -- playbooks ---------------------------------------------------------------------------------


def test_playbooks_are_copied_and_what_was_changed_is_kept(hestia: Caller, tmp_path: Path) -> None:
    assert hestia("semaphore", "playbooks", "p").code == 0
    names = {str(path.relative_to(tmp_path / "p")) for path in (tmp_path / "p").rglob("*") if path.is_file()}
    assert {"start.yml", "stop.yml", "machine.yml", "README.md", "files/process.sh"} <= names
    (tmp_path / "p" / "start.yml").write_text("mine")
    again = hestia("semaphore", "playbooks", "p", "--json")
    document = json.loads(again.out)
    assert (document["made"], document["kept"]) == ([], ["start.yml"])
    assert (tmp_path / "p" / "start.yml").read_text() == "mine"
    assert hestia("semaphore", "playbooks", "p", "--force").code == 0
    assert (tmp_path / "p" / "start.yml").read_text() != "mine"
