"""The engine `process`, starting: what a program gets, ports, refusals (EN-01, EN-04, EN-06, EN-11…13)."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import resource
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.errors import EngineRefused, StartFailed
from hestia.core.ports import EngineContext, Presence
from hestia.engines.process import ProcessEngine
from tests.contract.engine_contract import GATEWAY, GRACE, RecordingReport, key
from tests.contract.process_machine import PYTHON, SERVER, StolenPorts, ThisMachine, free_port, until
from tests.fakes.disk import small_disk

SLEEP = ["sleep", "1000"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as another user")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[ThisMachine]:
    machine = ThisMachine(tmp_path / "state")
    yield machine
    left = machine.anything_left()
    machine.end_all()
    assert left == []


@pytest.fixture
async def engine(machine: ThisMachine) -> AsyncIterator[ProcessEngine]:
    engine = machine.engine()
    yield engine
    await engine.aclose()


async def said(engine: ProcessEngine, machine: ThisMachine, script: str, **options: object) -> str:
    """Run a program to its end and return what it printed."""
    started = await engine.start(machine.fixed([*PYTHON, script], **options), key(), RecordingReport())
    async with asyncio.timeout(10):
        pieces = [piece async for piece in engine.logs(started.handle, follow=True)]
    await engine.stop(started.handle, grace=GRACE)
    return b"".join(pieces).decode()


# -- what a program gets ---------------------------------------------------------------------------


async def test_a_program_gets_a_session_of_its_own_no_input_and_no_pipe(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    script = (
        "import os, sys; print(os.getpid() == os.getsid(0) == os.getpgrp(), sys.stdin.read() == '', "
        "os.readlink('/proc/self/fd/1').endswith('.log'), sorted(os.listdir('/proc/self/fd'))[:3])"
    )
    assert await said(engine, machine, script) == "True True True ['0', '1', '2']\n"


async def test_en12_the_environment_is_built_and_the_gateway_s_secrets_are_absent(
    engine: ProcessEngine, machine: ThisMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMAPHORE_API_KEY", "secret")
    monkeypatch.setenv("HESTIA_API_KEYS", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy")
    monkeypatch.setenv("LC_TIME", "C.UTF-8")
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    env = json.loads(await said(engine, machine, script, env={"MODEL": "tiny", "PORT": 8080}))
    assert "secret" not in json.dumps(env)
    assert env["MODEL"] == "tiny"
    assert env["PORT"] == "8080"
    assert env["PATH"] == os.environ["PATH"]
    assert env["LC_TIME"] == "C.UTF-8"
    assert env["HESTIA_KEY"] == str(key())
    allowed = {
        "MODEL",
        "PORT",
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "USER",
        "LOGNAME",
        "SHELL",
        "TMPDIR",
        "LC_CTYPE",
    }
    allowed |= {"XDG_RUNTIME_DIR", "LD_LIBRARY_PATH", "LANGUAGE", "LC_TIME", "LC_ALL"}
    assert {name for name in env if not name.startswith("HESTIA_")} <= allowed


async def test_en06_env_is_not_seen_on_the_command_line(engine: ProcessEngine, machine: ThisMachine) -> None:
    spec = machine.fixed(SLEEP, env={"TOKEN": "hunter2"})
    started = await engine.start(spec, key(), RecordingReport())
    pid = started.handle["pid"]
    await machine.exec_done(started.handle)
    assert b"hunter2" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"hunter2" in Path(f"/proc/{pid}/environ").read_bytes()
    assert "hunter2" not in json.dumps(dict(started.handle))
    assert "hunter2" not in repr(spec)
    await engine.stop(started.handle, grace=GRACE)


async def test_li_14_a_program_has_the_limit_of_files_from_before_the_gateway_raised_its_own(
    machine: ThisMachine,
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    engine = ProcessEngine(EngineContext(GATEWAY, str(machine.folder), open_files=512))
    started = await engine.start(machine.fixed(SLEEP), key(), RecordingReport())
    assert resource.prlimit(started.handle["pid"], resource.RLIMIT_NOFILE) == (512, before[1])
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    await engine.stop(started.handle, grace=GRACE)
    await engine.aclose()


async def test_port_is_filled_in_everywhere(engine: ProcessEngine, machine: ThisMachine) -> None:
    script = SERVER + "\n# {other} braces stay"
    spec = machine.command(
        [*PYTHON, script.replace("print(", "import os; print(os.environ['WHERE'], "), "{port}"],
        base_url="http://127.0.0.1:{port}/api/",
        env={"WHERE": "at {port}"},
    )
    spec = type(spec)(
        options=spec.options,
        options_hash="x",
        base_url=spec.base_url,
        health_url="http://127.0.0.1:{port}/health",
    )
    started = await engine.start(spec, key(), RecordingReport())
    port = started.endpoint.port
    assert started.endpoint.base_path == "/api"
    assert started.health_url == f"http://127.0.0.1:{port}/health"
    await until(lambda: engine.tail(started.handle) == (f"at {port} hello",))
    await engine.stop(started.handle, grace=GRACE)


async def test_cwd_and_a_relative_program(
    engine: ProcessEngine, machine: ThisMachine, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "run.sh").write_text("#!/bin/sh\npwd\n")
    (folder / "run.sh").chmod(0o755)
    started = await engine.start(machine.fixed(["./run.sh"], cwd=str(folder)), key(), RecordingReport())
    text = [piece async for piece in engine.logs(started.handle, follow=True)]
    assert b"".join(text).decode() == f"{folder}\n"
    await engine.stop(started.handle, grace=GRACE)


async def test_a_shell_text_is_run_by_sh(engine: ProcessEngine, machine: ThisMachine) -> None:
    spec = machine.fixed("echo one | tr o 0 && exit 7")
    started = await engine.start(spec, key(), RecordingReport())
    text = [piece async for piece in engine.logs(started.handle, follow=True)]
    assert b"".join(text) == b"0ne\n"
    observed = await engine.inspect(started.handle)
    assert (observed.presence, observed.exit_status) == (Presence.GONE, 7)


@needs_root
async def test_user_gets_uid_gid_groups_and_home(engine: ProcessEngine, machine: ThisMachine) -> None:
    person = pwd.getpwnam("nobody")
    script = (
        "import os; print(os.getuid(), os.getgid(), os.getgroups(), os.environ['HOME'], os.environ['USER'])"
    )
    command = [shutil.which("python3", path="/usr/bin") or "/usr/bin/python3", "-S", "-E", "-c", script]
    if not os.path.exists(command[0]):
        pytest.skip("no python3 in /usr/bin that another user may run")
    started = await engine.start(machine.fixed(command, user="nobody", cwd="/"), key(), RecordingReport())
    text = b"".join([piece async for piece in engine.logs(started.handle, follow=True)]).decode()
    groups = os.getgrouplist("nobody", person.pw_gid)
    assert text == f"{person.pw_uid} {person.pw_gid} {groups} {person.pw_dir} nobody\n"
    await engine.stop(started.handle, grace=GRACE)


# -- ports -----------------------------------------------------------------------------------------


async def test_en11_a_stolen_port_is_replaced_by_a_new_one(machine: ThisMachine) -> None:
    ports = StolenPorts(2)
    engine = machine.engine(ports=ports)
    report = RecordingReport()
    started = await engine.start(machine.spec(), key(), report)
    assert started.endpoint.port == ports.picked[2]
    assert machine.living(key()) == 1
    assert [line for line in report.lines if "was taken" in line]
    assert report.handles[-1] == started.handle
    changes = engine.watch()
    hint = asyncio.ensure_future(anext(changes))  # noqa: TID251  # awaited below
    await machine.crash(started.handle)
    # The two lost attempts are no exits of this generation: the first hint is about the running one.
    assert (await asyncio.wait_for(hint, 5)).handle == started.handle
    await engine.aclose()
    ports.close()


async def test_en11_after_three_lost_ports_it_says_so(machine: ThisMachine) -> None:
    ports = StolenPorts(9)
    engine = machine.engine(ports=ports)
    with pytest.raises(StartFailed) as caught:
        await engine.start(machine.spec(), key(), RecordingReport())
    assert len(ports.picked) == 3
    assert "in use" in "\n".join(caught.value.tail)
    assert "{port}" in caught.value.remedy
    await engine.aclose()
    ports.close()


async def test_en11_parallel_starts_never_share_a_port(engine: ProcessEngine, machine: ThisMachine) -> None:
    starts = [engine.start(machine.spec(), key(n), RecordingReport()) for n in range(8)]
    started = await asyncio.gather(*starts)
    assert len({one.endpoint.port for one in started}) == 8
    await asyncio.gather(*(engine.stop(one.handle, grace=GRACE) for one in started))


async def test_a_program_that_listens_elsewhere_is_given_up_to_the_probe(machine: ThisMachine) -> None:
    """It runs; that nobody answers at its address is for the prober to find out."""
    engine = machine.engine(port_window=0.1)
    started = await engine.start(machine.command([*SLEEP[:1], "1{port}"]), key(), RecordingReport())
    assert (await engine.inspect(started.handle)).presence is Presence.RUNNING
    await engine.stop(started.handle, grace=GRACE)
    await engine.aclose()


async def test_a_port_that_nothing_tells_the_program_is_refused(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    with pytest.raises(EngineRefused, match="nothing tells it") as caught:
        await engine.start(machine.command(SLEEP), key(), RecordingReport())
    assert caught.value.permanent
    assert "{port}" in caught.value.remedy


# -- refusals: nothing is started, and the text says what to do ------------------------------------


@pytest.mark.parametrize(
    ("command", "options", "cause", "says"),
    [
        (["slep", "9"], {}, "not_found", "the nearest name is 'sleep'"),
        (["hestia-no-such-program"], {}, "not_found", "Looked in /"),
        (["/no/such/program"], {}, "not_found", "no program '/no/such/program'"),
        (["sleep", "9"], {"cwd": "/no/such/folder"}, "not_found", "no folder '/no/such/folder'"),
        (["sleep", "9"], {"cwd": "/etc/passwd"}, "not_found", "not a folder"),
        (["sleep", "9"], {"user": "nobodi"}, "not_found", "the nearest name is 'nobody'"),
        (["sleep", "9"], {"user": 4294967}, "not_found", "no user '4294967'"),
        (["/etc"], {}, "not_found", "is a folder"),
        (["/etc/passwd"], {}, "denied", "may not be executed"),
        (["sleep", "x" * 200_000], {}, "denied", "too long"),
    ],
)
async def test_en13_what_cannot_be_started_is_refused_for_good_before_anything_runs(
    engine: ProcessEngine,
    machine: ThisMachine,
    command: list[str],
    options: dict[str, object],
    cause: str,
    says: str,
) -> None:
    report = RecordingReport()
    with pytest.raises(EngineRefused) as caught:
        await engine.start(machine.fixed(command, **options), key(), report)
    refused = caught.value
    assert refused.permanent
    assert refused.cause == cause
    assert says in refused.detail
    assert refused.remedy
    assert report.handles == []


@pytest.mark.parametrize(
    ("content", "cause", "says"),
    [
        (b"#!/no/such/interpreter -x\n", "not_found", "names the interpreter '/no/such/interpreter -x'"),
        (b"\x00\x01\x02 not a program", "denied", "not a program of this machine"),
    ],
)
async def test_en13_a_file_that_the_system_cannot_execute_is_explained(
    engine: ProcessEngine, machine: ThisMachine, tmp_path: Path, content: bytes, cause: str, says: str
) -> None:
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    report = RecordingReport()
    with pytest.raises(EngineRefused) as caught:
        await engine.start(machine.fixed([str(program)]), key(), report)
    assert (caught.value.permanent, caught.value.cause) == (True, cause)
    assert says in caught.value.detail
    assert report.handles == []


@needs_root
async def test_en13_a_program_another_user_may_not_run_names_user_and_groups(
    engine: ProcessEngine, machine: ThisMachine, tmp_path: Path
) -> None:
    program = tmp_path / "private"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    with pytest.raises(EngineRefused, match=r"'nobody'.*groups") as caught:
        await engine.start(machine.fixed([str(program)], user="nobody"), key(), RecordingReport())
    assert (caught.value.permanent, caught.value.cause) == (True, "denied")


async def test_other_engine_s_options_are_refused(engine: ProcessEngine, machine: ThisMachine) -> None:
    spec = machine.spec()
    wrong = type(spec)(options=None, options_hash="", base_url=spec.base_url)
    with pytest.raises(EngineRefused, match="its own options"):
        await engine.start(wrong, key(), RecordingReport())


async def test_a_live_key_is_followed_even_when_its_command_is_gone_by_now(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    first = await engine.start(machine.spec(), key(), RecordingReport())
    again = await engine.start(machine.fixed(["/no/such/program"]), key(), RecordingReport())
    assert again == first
    await engine.stop(first.handle, grace=GRACE)


# -- ends while starting ---------------------------------------------------------------------------


async def test_fb17_a_program_that_ends_while_starting_is_told_with_status_and_last_lines(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    script = (
        "import os, sys; print('port', sys.argv[1]); [print('line', n) for n in range(30)]; "
        "print('\\x1b[31mkey is', os.environ['API_TOKEN'], '\\x1b[0m'); sys.exit(3)"
    )
    spec = machine.command([*PYTHON, script, "{port}"], env={"API_TOKEN": "hunter2"})
    with pytest.raises(StartFailed) as caught:
        await engine.start(spec, key(), RecordingReport())
    failed = caught.value
    assert (failed.exit_status, failed.signal, failed.cause) == (3, None, "exited")
    assert len(failed.tail) == 20
    assert failed.tail[-2:] == ("line 29", "key is *** ")
    assert "svc: the program ended with exit status 3" in failed.detail
    assert failed.remedy == "hestia logs svc"


async def test_fb08_what_a_failed_start_leaves_is_ended_with_it(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    spec = machine.command("sleep 1000 & sleep 0.2; echo {port}; exit 4")
    with pytest.raises(StartFailed):
        await engine.start(spec, key(), RecordingReport())
    assert machine.processes() == []


async def test_what_is_left_over_of_a_key_is_ended_before_it_is_started_again(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    """Its main program is gone, so there is nothing to follow; both together would be two."""
    started = await engine.start(machine.fixed("sleep 1000 & exit 0"), key(), RecordingReport())
    await until(lambda: machine.living(key()) == 0)
    (orphan,) = machine.processes()
    again = await engine.start(machine.fixed(SLEEP), key(), RecordingReport())
    await until(lambda: machine.processes() == [again.handle["pid"]])  # it may not have called exec yet
    assert again.handle["pid"] != orphan
    assert again.handle != started.handle
    await engine.stop(again.handle, grace=GRACE)


# -- cancellation ----------------------------------------------------------------------------------


async def test_en04_a_start_cancelled_at_any_moment_leaves_nothing_or_a_handle(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    """Cancelled at points of time and not of the loop: threads and the program itself go on meanwhile."""
    for step in range(30):
        report = RecordingReport()
        async with asyncio.TaskGroup() as group:
            start = group.create_task(engine.start(machine.spec(), key(step), report))
            await asyncio.sleep(step * 0.003)
            start.cancel()
        assert report.handles or machine.processes() == []
        for handle in report.handles:
            await engine.stop(handle, grace=GRACE)
        assert machine.processes() == []


async def test_a_port_is_free_again_for_the_system_after_a_failed_start(machine: ThisMachine) -> None:
    ports = StolenPorts(0)
    engine = machine.engine(ports=ports)
    with pytest.raises(EngineRefused):
        await engine.start(machine.command(["/no/such", "{port}"]), key(), RecordingReport())
    assert ports.given == frozenset()
    started = await engine.start(machine.spec(), key(), RecordingReport())
    assert ports.given == {started.endpoint.port}
    await engine.stop(started.handle, grace=GRACE)
    assert ports.given == frozenset()
    await engine.aclose()


async def test_a_fixed_address_is_not_waited_for(engine: ProcessEngine, machine: ThisMachine) -> None:
    """Whether it answers is for the prober; the engine has nothing to repeat on another port."""
    url = f"http://127.0.0.1:{free_port()}"
    started = await engine.start(machine.command(SLEEP, base_url=url), key(), RecordingReport())
    assert str(started.endpoint) == url
    assert started.handle["port"] == 0
    await engine.stop(started.handle, grace=GRACE)


async def test_en13_a_folder_that_cannot_be_written_is_a_refusal_and_no_bug(
    machine: ThisMachine, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", size="1m") as disk:
        disk.writable(False)
        engine = ProcessEngine(EngineContext(GATEWAY, str(disk.path)))
        with pytest.raises(EngineRefused, match="Read-only file system") as caught:
            await engine.start(machine.spec(), key(), RecordingReport())
        assert (caught.value.permanent, caught.value.cause) == (False, "denied")
        await engine.aclose()
