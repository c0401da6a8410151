"""The command line as a program: on a terminal, in a pipe, with signals (CL-07, CL-08, CL-10, CL-24)."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.e2e.cli import PATIENCE, PROGRAM, environment, on_terminal
from tests.fakes.api_server import FakeApi, serving, stage, status

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving(FakeApi()) as fake:
        yield fake


def seen(text: str | None) -> str:
    """What stood on the screen, without the codes that put it there."""
    return ESCAPES.sub("", text or "")


def ended(child: pexpect.spawn) -> tuple[int, str]:
    """Exit code and the rest of the screen's text."""
    child.expect(pexpect.EOF)
    child.close()
    return (child.exitstatus if child.exitstatus is not None else -int(child.signalstatus)), seen(
        child.before
    )


def test_cl06_a_terminal_shows_stages_elapsed_and_estimate(api: FakeApi, tmp_path: Path) -> None:
    begun = [stage("engine", "starting the program", ms=1200, done=True)]
    probing = [*begun, stage("probe", "GET http://127.0.0.1:9100/health", ms=4200, done=False, usual=5000)]
    api.add(status("sdxl"))
    api.play(
        "sdxl",
        "start",
        status("sdxl", "starting", queuePending=3, estimatedReadyMs=22000, stages=probing),
        status("sdxl", "starting", queuePending=3, estimatedReadyMs=21000, stages=probing),
        status("sdxl", "hot", stages=begun),
    )
    code, text = ended(on_terminal(["start", "sdxl", "--url", api.url], cwd=tmp_path))
    assert code == 0
    assert " of about 2" in text
    assert "ok   engine" in text
    assert "run  probe" in text
    assert "(usually 5.0 s)" in text
    assert "3 requests wait." in text
    assert "Ctrl-C stops watching, not the start." in text
    assert "Ctrl-C" not in text.rpartition("ok   engine")[2], "that is over"
    assert "sdxl is hot after" in text
    assert f"{api.url}/services/sdxl/" in text


def test_cl07_ctrl_c_stops_the_following_and_not_the_start(api: FakeApi, tmp_path: Path) -> None:
    api.add(status("sdxl"))
    api.play("sdxl", "start", status("sdxl", "starting"))
    child = on_terminal(["start", "sdxl", "--url", api.url], cwd=tmp_path)
    child.expect("Ctrl-C stops watching")
    child.sendintr()
    code, text = ended(child)
    assert code == 130
    assert 'Stopped watching; the start of "sdxl" goes on.' in text
    assert "hestia stop sdxl" in text
    assert "Traceback" not in text
    assert not any("stop" in call for call in api.calls)


@pytest.mark.parametrize(("answer", "code", "posted"), [("", 1, False), ("n", 1, False), ("y", 0, True)])
def test_cl10_a_forced_stop_asks_and_no_is_the_default(
    api: FakeApi, tmp_path: Path, answer: str, code: int, posted: bool
) -> None:
    api.add(status("sdxl", "hot", inFlight=2))
    api.play("sdxl", "stop", status("sdxl"))
    child = on_terminal(["stop", "sdxl", "--force", "--url", api.url], cwd=tmp_path)
    child.expect("2 open requests of sdxl will be cut off")
    child.sendline(answer)
    assert ended(child)[0] == code
    assert any(call.startswith("POST") for call in api.calls) is posted


@pytest.mark.parametrize("columns", [60, 80, 132])
def test_cl14_the_table_fits_the_terminal(api: FakeApi, tmp_path: Path, columns: int) -> None:
    api.add(status("a-service-with-a-name-that-goes-on-for-ever", "hot", machineId="gpu-server-number-01"))
    api.add(status("b", "failed"))
    _, text = ended(on_terminal(["status", "--url", api.url], cwd=tmp_path, columns=columns))
    lines = text.replace("\r", "").splitlines()
    assert max(len(line) for line in lines) <= columns
    assert "1 failed: hestia status b" in text


def test_cl04_no_color_and_dumb_terminals_get_no_escapes(api: FakeApi, tmp_path: Path) -> None:
    api.add(status("ollama", "hot"))
    for more in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        child = on_terminal(["status", "--url", api.url], cwd=tmp_path, env=environment(**more))
        child.expect(pexpect.EOF)
        assert "\x1b" not in (child.before or "")
        child.close()


def test_cl04_ascii_marks_in_the_c_locale(api: FakeApi, tmp_path: Path) -> None:
    api.add(status("ollama", "hot"))
    latin = environment(
        LC_ALL="C", LANG="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    _, text = ended(on_terminal(["status", "--url", api.url], cwd=tmp_path, env=latin))
    assert "* hot" in text


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_cl08_a_closed_pipe_ends_silently_with_141(api: FakeApi, tmp_path: Path, unbuffered: str) -> None:
    api.add(status("ollama", "hot"))
    api.logs["ollama"] = b"a line of output\n" * 200_000
    child = subprocess.Popen(
        [*PROGRAM, "logs", "ollama", "--url", api.url],
        cwd=tmp_path,
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline() == b"a line of output\n"
    child.stdout.close()
    assert child.wait(PATIENCE) == 141
    assert child.stderr.read() == b""
    child.stderr.close()


def test_cl03_ctrl_c_in_a_pipe_is_130_without_traceback(api: FakeApi, tmp_path: Path) -> None:
    api.add(status("sdxl"))
    api.play("sdxl", "start", status("sdxl", "starting"))
    child = subprocess.Popen(
        [*PROGRAM, "start", "sdxl", "--url", api.url],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    assert child.stderr.readline().startswith("sdxl: starting")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "goes on" in err


def completed(words: str, cwd: Path, **more: str) -> tuple[list[str], str]:
    """What bash would be offered for the last word, and what was said on stderr."""
    done = subprocess.run(
        PROGRAM,
        cwd=cwd,
        env=environment(
            _HESTIA_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")), **more
        ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line], done.stderr


def test_cl24_ids_come_from_the_gateway_else_from_the_file_else_not_at_all(
    api: FakeApi, tmp_path: Path
) -> None:
    api.add(status("ollama"))
    assert completed("hestia start ol", tmp_path, HESTIA_URL=api.url) == (["ollama"], "")
    nobody = {"HESTIA_URL": "http://127.0.0.1:1"}
    assert completed("hestia start o", tmp_path, **nobody) == ([], "")
    (tmp_path / "hestia_config.yml").write_text("services:\n  other: {}\n")
    assert completed("hestia start o", tmp_path, **nobody) == (["other"], "")
    assert completed("hestia sta", tmp_path) == (["status", "start"], "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_cl24_the_bash_script_completes_in_a_real_bash(api: FakeApi, tmp_path: Path) -> None:
    api.add(status("ollama"))
    script = subprocess.run(
        [*PROGRAM, "completion", "bash"], capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
    wrapper = tmp_path / "hestia"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n')
    wrapper.chmod(0o755)
    asked = f"{script}\nCOMP_WORDS=(hestia start ol); COMP_CWORD=2; _hestia_completion {wrapper}\n"
    asked += 'echo "${COMPREPLY[@]}"\n'
    found = subprocess.run(
        ["bash", "-c", asked],
        env=environment(HESTIA_URL=api.url),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (found.stdout, found.stderr) == ("ollama\n", "")
