"""Every command against a scripted control API: results, streams, exit codes (CL-02, CL-03, CL-06)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli import Caller
from tests.fakes.api_server import FakeApi, last_error, serving, stage, status


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving(FakeApi()) as fake:
        yield fake


@pytest.fixture
def hestia(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: FakeApi
) -> Caller:
    """The command line, pointed at the fake gateway."""
    monkeypatch.chdir(tmp_path)
    for name in ("HESTIA_PORT", "HESTIA_HOST", "HESTIA_API_KEY", "HESTIA_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HESTIA_URL", api.url)
    return Caller(capsys)


STARTING = [
    status("sdxl", "starting", stages=[stage("engine", "starting the program", ms=300, done=False)]),
    status("sdxl", "starting", stages=[stage("engine", "starting the program", ms=500, done=False)]),
    status("sdxl", "starting", stages=[stage("probe", "GET /health", ms=900, done=False)]),
]


# -- help and usage ----------------------------------------------------------------------------


def test_cl01_alone_and_help_print_the_same_grouped_overview(hestia: Caller) -> None:
    alone, asked = hestia(), hestia("help")
    assert alone == asked
    assert alone.code == 0
    assert len(alone.out.splitlines()) <= 24
    for group in ("Run", "Look", "Act", "Configure", "Help"):
        assert f"\n{group}\n" in alone.out
    for word in ("ps", "up", "down"):
        assert f"\n  {word} " not in alone.out
    assert max(len(line) for line in alone.out.splitlines()) <= 80


@pytest.mark.parametrize(
    "name",
    [
        "serve",
        "demo",
        "status",
        "logs",
        "doctor",
        "start",
        "stop",
        "restart",
        "config",
        "help",
        "completion",
        "version",
    ],
)
def test_cl01_help_of_every_command_starts_with_an_example(hestia: Caller, name: str) -> None:
    found = hestia("help", name)
    assert found.code == 0
    assert f"hestia {name}" in found.out.splitlines()[0]
    assert hestia(name, "--help") == found
    assert hestia(name, "-h") == found


@pytest.mark.parametrize(
    "words",
    [("status", "--nonsense", "-h"), ("start", "x", "--timeout", "soon", "--help"), ("-h", "start"), ("-h",)],
)
def test_cl01_help_anywhere_wins(hestia: Caller, words: tuple[str, ...]) -> None:
    found = hestia(*words)
    assert (found.code, found.err) == (0, "")
    assert "hestia" in found.out


def test_cl03_exit_codes_are_documented(hestia: Caller) -> None:
    lines = hestia("help", "exit-codes").out.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2", "3", "4", "5", "6", "130", "141"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stauts",), "Did you mean: status"),
        (("bananas",), "There are: serve, demo"),
        (("status", "--jsn"), "Did you mean: --json"),
        (("start",), "Missing argument"),
        (("start", "x", "--timeout", "2"), "write a number with ms, s, m, h or d"),
        (("status", "--is", "hot"), "--is needs a service"),
        (("config", "chek"), "Did you mean: check"),
        (("help", "strt"), "Did you mean: start"),
        (("status", "--url", "ftp://x"), "expected an address"),
        (("completion", "tcsh"), "bash"),
    ],
)
def test_cl09_usage_errors_name_the_nearest_and_never_run_the_guess(
    hestia: Caller, api: FakeApi, words: tuple[str, ...], says: str
) -> None:
    found = hestia(*words)
    assert (found.code, found.out) == (2, "")
    assert says in found.err
    assert api.calls == []


def test_cl02_a_usage_error_with_json_is_a_problem_on_stdout(hestia: Caller) -> None:
    found = hestia("status", "--json", "--nonsense")
    assert found.code == 2
    assert json.loads(found.out)["code"] == "usage"
    assert found.err == ""


# -- looking -----------------------------------------------------------------------------------


def test_cl02_json_is_exactly_the_body_of_the_call(hestia: Caller, api: FakeApi) -> None:
    api.add(status("ollama", "hot"))
    listed = hestia("status", "--json")
    assert listed.out.encode() == api.answer("GET", "/v1/services")[1] + b"\n"
    one = hestia("--json", "status", "ollama")
    assert one.out.encode() == api.answer("GET", "/v1/services/ollama/status")[1] + b"\n"
    assert (listed.code, listed.err, one.code, one.err) == (0, "", 0, "")


def test_cl14_status_in_a_pipe_has_tabs_and_no_hints(hestia: Caller, api: FakeApi) -> None:
    api.add(status("ollama", "failed", lastError=last_error("it ended")))
    found = hestia("status")
    assert found.out.splitlines()[1].startswith("ollama\tfailed\tlocal\t0\t0\t")
    assert found.err == ""
    assert hestia("status", "--no-header").out.count("\n") == 1
    assert hestia("ps") == found


@pytest.mark.parametrize(("phase", "asked", "code"), [
    ("hot", "hot", 0), ("suspect", "hot", 0), ("cold", "hot", 1), ("failed", "cold", 1),
    ("draining", "draining", 0),
])  # fmt: skip
def test_cl16_is_answers_by_exit_code_alone(
    hestia: Caller, api: FakeApi, phase: str, asked: str, code: int
) -> None:
    api.add(status("ollama", phase))
    found = hestia("status", "ollama", "--is", asked)
    assert (found.code, found.out, found.err) == (code, "", "")


def test_cl11_verbose_shows_the_calls_on_stderr(hestia: Caller, api: FakeApi) -> None:
    found = hestia("status", "-v")
    assert "GET " in found.err
    assert "/v1/services -> 200 in" in found.err


def test_cl11_version_names_client_and_gateway_and_warns_on_mismatch(hestia: Caller) -> None:
    found = hestia("version")
    assert found.code == 0
    assert "gateway 0.0.9 at" in found.out
    assert "restart the gateway" in found.err
    assert json.loads(hestia("version", "--json").out)["gateway"]["version"] == "0.0.9"


def test_cl26_logs_escape_control_characters(hestia: Caller, api: FakeApi) -> None:
    api.add(status("ollama", "hot"))
    api.logs["ollama"] = b"one\n\x1b]0;owned\x07two\r\nno newline \xff"
    found = hestia("logs", "ollama")
    assert found.out == "one\n\\x1b]0;owned\\x07two\nno newline \ufffd\n"
    first = hestia("logs", "ollama", "--json").out.splitlines()[0]
    assert json.loads(first)["line"] == "one"


# -- acting ------------------------------------------------------------------------------------


def test_cl06_a_start_is_followed_to_the_end(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl"))
    api.play("sdxl", "start", *STARTING, status("sdxl", "hot"))
    found = hestia("start", "sdxl")
    assert found.code == 0
    assert found.out.startswith("sdxl is hot after ")


def test_cl05_in_a_pipe_there_is_one_line_per_change(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl"))
    api.play("sdxl", "start", *STARTING, status("sdxl", "hot"))
    lines = [line.rsplit(" (", 1)[0] for line in hestia("up", "sdxl").err.splitlines()]
    assert lines == [
        "sdxl: starting: engine: starting the program",
        "sdxl: starting: probe: GET /health",
        "sdxl: hot",
    ]


def test_cl05_json_progress_goes_to_stderr_and_quiet_says_nothing(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl"))
    api.play("sdxl", "start", *STARTING, status("sdxl", "hot"))
    found = hestia("start", "sdxl", "--progress", "json", "--json")
    assert [json.loads(line)["stage"] for line in found.err.splitlines()] == ["engine", "probe", None]
    assert json.loads(found.out)["phase"] == "hot"
    api.add(status("sdxl"))
    api.play("sdxl", "start", *STARTING, status("sdxl", "hot"))
    assert hestia("-q", "start", "sdxl").err == ""


def test_cl06_already_hot_is_done(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl", "hot"))
    found = hestia("start", "sdxl")
    assert found.code == 0
    assert found.out.startswith("sdxl is already hot since ")


def test_cl06_no_wait_returns_at_once(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl"))
    api.play("sdxl", "start", *STARTING)
    found = hestia("start", "sdxl", "--no-wait")
    assert (found.code, found.out) == (0, "start of sdxl begun\n")
    assert api.calls == ["POST /v1/services/sdxl/start"]


def test_cl03_a_failed_start_is_1_with_reason_output_and_remedy(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl"))
    error = last_error("sdxl: the program ended with exit code 1.", tail=["Traceback", "KeyError: 'x'"])
    failed = status("sdxl", "failed", lastError=error)
    api.play("sdxl", "start", *STARTING, failed)
    found = hestia("start", "sdxl", "--progress", "quiet")
    assert (found.code, found.out) == (1, "")
    assert found.err.splitlines() == [
        "sdxl: the program ended with exit code 1.",
        "  | Traceback",
        "  | KeyError: 'x'",
        "do: correct `command`",
    ]
    api.add(status("sdxl"))
    api.play("sdxl", "start", *STARTING, failed)
    problem = json.loads(hestia("start", "sdxl", "--json", "-q").out)
    assert problem["code"] == "service_start_failed"
    assert problem["cause"] == "exited"


def test_cl03_the_time_limit_is_6_and_the_start_goes_on(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl"))
    api.play("sdxl", "start", STARTING[0])
    found = hestia("start", "sdxl", "--timeout", "1ms", "-q")
    assert found.code == 6
    assert "it goes on" in found.err
    assert not any("stop" in call for call in api.calls)


def test_cl06_stop_follows_the_drain(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl", "hot", inFlight=1))
    api.play(
        "sdxl", "stop", status("sdxl", "draining", inFlight=1), status("sdxl", "stopping"), status("sdxl")
    )
    found = hestia("down", "sdxl")
    assert found.code == 0
    assert found.out.startswith("sdxl is cold, stopped in ")
    assert [line.rsplit(" (", 1)[0] for line in found.err.splitlines()][-1] == "sdxl: cold"


def test_cl06_stopping_what_is_cold_is_done(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl"))
    assert hestia("stop", "sdxl") == hestia("stop", "sdxl", "--force")
    assert hestia("stop", "sdxl").out == "sdxl is already cold\n"


def test_fb_15_what_failed_is_stopped_all_the_same_and_a_stop_in_vain_is_no_success(
    hestia: Caller, api: FakeApi
) -> None:
    """`hestia stop x --force` is the remedy for what could not be stopped, so it is sent."""
    api.add(status("sdxl", "failed"))
    api.play("sdxl", "stop", status("sdxl"))
    found = hestia("stop", "sdxl", "--force")
    assert (found.code, found.out) == (0, "sdxl is cold; its failures are forgotten\n")
    assert "POST /v1/services/sdxl/stop?force=true" in api.calls
    left = status("sdxl", "failed", lastError=last_error("sdxl: it may still run."))
    left["instances"][0]["unused"] = "it could not be stopped, and may still run"
    api.add(status("sdxl", "hot"))
    api.play("sdxl", "stop", status("sdxl", "stopping"), left)
    found = hestia("stop", "sdxl")
    assert (found.code, found.out) == (1, "")
    assert "it may still run" in found.err


def test_cl10_force_with_open_requests_needs_yes_without_a_terminal(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl", "hot", inFlight=2))
    found = hestia("stop", "sdxl", "--force")
    assert found.code == 2
    assert "2 open requests of sdxl would be cut off" in found.err
    assert not any(call.startswith("POST") for call in api.calls)
    api.play("sdxl", "stop", status("sdxl"))
    assert hestia("stop", "sdxl", "--force", "--yes").code == 0
    assert "POST /v1/services/sdxl/stop?force=true" in api.calls


def test_cl10_force_without_open_requests_asks_nothing(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl", "hot"))
    api.play("sdxl", "stop", status("sdxl"))
    assert hestia("stop", "sdxl", "--force").code == 0


def test_cl06_a_restart_ends_with_the_next_generation(hestia: Caller, api: FakeApi) -> None:
    api.add(status("sdxl", "hot"))
    api.play(
        "sdxl",
        "restart",
        status("sdxl", "hot"),
        status("sdxl", "draining"),
        status("sdxl", "stopping"),
        status("sdxl", "cold"),
        status("sdxl", "starting", generation=2),
        status("sdxl", "hot", generation=2),
    )
    found = hestia("restart", "sdxl")
    assert found.code == 0
    assert [line.rsplit(" (", 1)[0] for line in found.err.splitlines()][-1] == "sdxl: hot"


# -- when it goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "status", "logs"])
def test_cl09_an_unknown_service_is_5_with_the_nearest(hestia: Caller, api: FakeApi, verb: str) -> None:
    api.add(status("ollama"))
    found = hestia(verb, "olama")
    assert (found.code, found.out) == (5, "")
    assert found.err == 'There is no service "olama".\nDid you mean: ollama?\n'
    far = hestia(verb, "bananas")
    assert far.err == 'There is no service "bananas".\nThere are: ollama.\n'
    assert json.loads(hestia(verb, "olama", "--json").out)["code"] == "service_not_found"


def test_a_service_name_cannot_escape_its_path(hestia: Caller, api: FakeApi) -> None:
    assert hestia("status", "../../healthz").code == 5
    assert api.calls[0] == "GET /v1/services/..%2F..%2Fhealthz/status"


@pytest.mark.parametrize("verb", ["start", "status", "logs"])
def test_cl13_no_gateway_is_3_with_address_source_and_remedy(
    hestia: Caller, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("HESTIA_URL", f"http://127.0.0.1:{port}")
    found = hestia(verb, "x")
    assert (found.code, found.out) == (3, "")
    assert f"http://127.0.0.1:{port} (from HESTIA_URL)" in found.err
    assert "refused" in found.err
    assert f"hestia serve --port {port}" in found.err
    assert json.loads(hestia(verb, "x", "--json").out)["code"] == "gateway_unreachable"


def test_cl13_a_stranger_on_the_port_is_named_as_such(
    hestia: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        import threading

        def answer() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("HESTIA_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        found = hestia("status")
        thread.join()
    assert found.code == 3
    assert "it is not Hestia" in found.err


def test_cl03_access_refused_is_4(hestia: Caller, api: FakeApi) -> None:
    api.refuse = 401
    found = hestia("status")
    assert found.code == 4
    assert "HESTIA_API_KEY" in found.err


def test_cl12_the_key_is_sent(hestia: Caller, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESTIA_API_KEY", "sesame")
    hestia("status")
    assert set(api.keys) == {"sesame"}, "with every call that it makes"


# -- completion --------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_cl24_each_shell_gets_its_script(hestia: Caller, shell: str) -> None:
    found = hestia("completion", shell)
    assert found.code == 0
    assert f"_HESTIA_COMPLETE={shell}_complete" in found.out
