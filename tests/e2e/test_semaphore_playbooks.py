"""The playbooks that come with Hestia, with real Ansible: each kind of service, and the whole way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from hestia.engines.semaphore.bootstrap import INVENTORY, PLAYBOOKS, THIS_MACHINE
from tests.contract.process_machine import free_port
from tests.e2e.cli import PROGRAM, environment
from tests.e2e.conftest import missing
from tests.e2e.semaphore import ansible_options, semaphore_program
from tests.e2e.served import serving
from tests.fakes.facts import eventually
from tests.fakes.real_systemd import Systemd, real_systemd

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

SH: Final = str(Path(PLAYBOOKS) / "files" / "process.sh")
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


def ansible(python: str, name: str = "ansible-playbook") -> str:
    """A program of the environment with the real servers."""
    program = Path(python).with_name(name)
    if not os.access(program, os.X_OK):
        missing(f"{program} cannot be run; see tests/e2e/requirements.txt")
    return str(program)


class Plays:
    """Plays the playbooks on the machine gpu-1, which is this one, as Semaphore 2.10 does: without PATH."""

    def __init__(self, program: str, folder: Path, run: Run) -> None:
        self.program = program
        self.folder = folder
        self.run = run
        self.port = free_port()
        (folder / "inventory").write_text(f"{INVENTORY}gpu-1 {THIS_MACHINE}\n")

    def command(self, playbook: str, **variables: str) -> list[str]:
        told = {
            "hestia_machine": "gpu-1",
            "hestia_machine_address": "",
            "hestia_service": "web",
            "hestia_host": "127.0.0.1",
            "hestia_port": str(self.port),
            **variables,
        }
        words = [self.program, "-i", str(self.folder / "inventory"), "-e", json.dumps(told)]
        return ["env", "-i", f"HOME={self.folder}", *words, str(Path(PLAYBOOKS) / playbook)]

    def play(self, playbook: str, **variables: str) -> Done:
        return self.run(*self.command(playbook, **variables))

    def changes(self, playbook: str, **variables: str) -> bool:
        """Play it, which has to succeed; whether it changed anything."""
        done = self.play(playbook, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return "changed=1" in done.stdout


def here(*words: str) -> Done:
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


@pytest.fixture
def plays(real_python: str, tmp_path: Path) -> Plays:
    return Plays(ansible(real_python), tmp_path, here)


def listens(port: int) -> bool:
    return any(
        one.laddr and one.laddr.port == port and one.status == psutil.CONN_LISTEN
        for one in psutil.net_connections("tcp")
    )


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_ansible_lint_has_nothing_to_say(real_python: str, tmp_path: Path) -> None:
    lint = ansible(real_python, "ansible-lint")
    shutil.copytree(PLAYBOOKS, tmp_path / "playbooks")
    path = f"{Path(lint).parent}:{os.environ['PATH']}"
    words = [lint, "--offline", "--nocolor", "--profile", "production", "start.yml", "stop.yml"]
    done = subprocess.run(
        words,
        cwd=tmp_path / "playbooks",
        env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("playbook", ["start.yml", "stop.yml"])
def test_they_can_be_read_without_any_variable(plays: Plays, playbook: str) -> None:
    done = here(
        "env", "-i", f"HOME={plays.folder}", plays.program, "--syntax-check", f"{PLAYBOOKS}/{playbook}"
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- a process ---------------------------------------------------------------------------------


def test_en_61_a_process_is_started_once_and_stopped_once(plays: Plays) -> None:
    serve = f"exec {sys.executable} -m http.server {plays.port} --bind 127.0.0.1"
    told = {"service_kind": "process", "service_folder": f"{plays.folder}/a b", "service_command": serve}
    try:
        assert plays.changes("start.yml", **told)
        assert listens(plays.port)
        record = (plays.folder / "a b" / "web.main.pid").read_text()
        assert not plays.changes("start.yml", **told)
        assert (plays.folder / "a b" / "web.main.pid").read_text() == record
    finally:
        stopped = plays.changes("stop.yml", **told)
    assert stopped
    assert not listens(plays.port)
    assert not plays.changes("stop.yml", **told)


def test_a_process_that_ends_at_once_fails_with_its_last_words(plays: Plays) -> None:
    told = {"service_folder": str(plays.folder), "service_command": "echo no such model >&2; exit 3"}
    done = plays.play("start.yml", service_kind="process", service_wait="2", **told)
    assert done.returncode != 0
    assert '"no such model"' in done.stdout.split("Tell why it did not start")[-1]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"hestia_machine": "nowhere"}, "No host nowhere"),
        ({"hestia_machine": "all"}, "No host all"),
        ({"service_kind": "magic"}, "systemd, container or process"),
    ],
)
def test_what_cannot_be_meant_fails_instead_of_doing_nothing(
    plays: Plays, told: dict[str, str], says: str
) -> None:
    done = plays.play("stop.yml", **told)
    assert done.returncode != 0
    assert says in done.stdout


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Run]:
    """`process.sh` with the folder of the test; what it started is gone in the end."""

    def run(action: str, *words: str) -> Done:
        return here("sh", SH, action, str(tmp_path), "one", *words)

    yield run
    assert run("stop", "0").returncode == 0


async def test_a_process_that_does_not_listen_to_term_is_killed_with_its_children(
    process: Run, tmp_path: Path
) -> None:
    deaf = "trap '' TERM; while :; do sleep 1; done"
    child = rf'sh -c "echo \$\$ >{tmp_path}/child; {deaf}" &'
    assert process("start", f"{child} {deaf}").stdout == "started\n"
    session, name = int((tmp_path / "one.pid").read_text().split()[0]), tmp_path / "child"
    await eventually(lambda: name.exists() and name.read_text().endswith("\n"), "the child to say its pid")
    assert process("stop", "0").stdout == "stopped\n"
    assert not lives(session)
    assert not lives(int(name.read_text()))


def test_en_61_of_two_starts_at_once_one_starts_it(process: Run, tmp_path: Path) -> None:
    words = ["sh", SH, "start", str(tmp_path), "one", "exec sleep 600"]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(one.communicate(timeout=120)[0] for one in both) == ["already runs\n", "started\n"]


def test_a_number_that_somebody_else_has_by_now_is_left_alone(process: Run, tmp_path: Path) -> None:
    assert process("start", "exec sleep 600").stdout == "started\n"
    ours, boot, began = (tmp_path / "one.pid").read_text().split()
    for pid, since, ticks in ((os.getpid(), boot, "1"), (int(ours), "another-boot", began)):
        (tmp_path / "one.pid").write_text(f"{pid} {since} {ticks}\n")
        assert process("stop", "0").stdout == "nothing runs\n"
        assert psutil.pid_exists(pid)
    os.kill(int(ours), signal.SIGKILL)


def test_the_output_of_a_process_is_kept_and_shown(process: Run) -> None:
    assert process("start", "echo hello; exec sleep 600").stdout == "started\n"
    assert process("lines").stdout == "hello\n"


# -- a container, a unit -----------------------------------------------------------------------

# Of a container engine this does what the playbooks use; no daemon can be had on a test machine.
DOCKER: Final = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/calls"
case $1 in
start) [ -e "$here/$2" ] || { echo "Error: No such container: $2" >&2; exit 1; }
  [ ! -e "$here/broken" ] || { echo "Error: port is already allocated" >&2; exit 1; } ;;
run) touch "$here/$4" ;;
stop) [ -e "$here/$2" ] || { echo "Error response from daemon: No such container: $2" >&2; exit 1; } ;;
logs) echo "out of memory" ;;
esac
"""


@pytest.fixture
def docker(plays: Plays) -> Path:
    """The folder of a `docker`, which notes its calls."""
    folder = plays.folder / "bin"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    return folder


def test_en_61_a_container_is_made_once_and_started_from_then_on(plays: Plays, docker: Path) -> None:
    told = {"service_kind": "container", "service_wait": "0", "service_path": f"{docker}:/usr/bin:/bin"}
    image = {"service_image": "img:1", "service_options": "-p 1:2", "service_command": "serve it"}
    plays.changes("start.yml", **told, **image)
    plays.changes("start.yml", **told, **image)
    assert (docker / "calls").read_text().splitlines() == [
        "start web",
        "run --detach --name web -p 1:2 img:1 serve it",
        "start web",
    ]
    (docker / "web").unlink()
    assert not plays.changes("stop.yml", **told)


def test_a_container_that_does_not_start_is_not_made_a_second_time(plays: Plays, docker: Path) -> None:
    for name in ("web", "broken"):
        (docker / name).touch()
    told = {"service_kind": "container", "service_image": "img", "service_path": f"{docker}:/usr/bin:/bin"}
    done = plays.play("start.yml", **told)
    assert done.returncode != 0
    assert '"out of memory"' in done.stdout
    assert (docker / "calls").read_text().splitlines() == ["start web", "logs --tail 15 web"]


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with real_systemd(tmp_path) as one:
        yield one


def test_en_61_a_unit_is_started_once_and_stopped_once(
    real_python: str, tmp_path: Path, systemd: Systemd
) -> None:
    plays = Plays(ansible(real_python), tmp_path, systemd.run)
    serve = f"{sys.executable} -m http.server {plays.port} --bind 127.0.0.1"
    unit = f"[Unit]\nDefaultDependencies=no\n[Service]\nExecStart={serve}\n"
    systemd.run("sh", "-c", f"printf '{unit}' >/etc/systemd/system/web.service")
    systemd.systemctl("daemon-reload")
    assert plays.changes("start.yml")
    assert systemd.property("web.service", "ActiveState") == "active"
    assert not plays.changes("start.yml")
    assert plays.changes("stop.yml")
    assert systemd.property("web.service", "ActiveState") == "inactive"


# -- the whole way -----------------------------------------------------------------------------


async def test_from_an_empty_server_to_a_service_that_wakes_and_sleeps(
    real_python: str, tmp_path: Path
) -> None:
    """Bootstrap, its settings beside a configuration, a request that wakes, idleness that ends."""
    port, folder = free_port(), tmp_path / "gateway"
    folder.mkdir()
    serve = f"exec {sys.executable} -m http.server {port} --bind 127.0.0.1 --directory {folder}"
    variables = {
        "service_kind": "process",
        "service_folder": str(tmp_path / "services"),
        "service_command": serve,
    }
    engine = {
        "type": "semaphore",
        "machine_id": "gpu-1",
        "start_template": "start",
        "stop_template": "stop",
        "variables": variables,
    }
    service = {"base_url": f"http://127.0.0.1:{port}", "idle_timeout": "2s", "engine": engine}
    options = ("--tick", "0.5", *ansible_options(real_python, Path(PLAYBOOKS)))
    with semaphore_program(*options) as semaphore:
        words = ("--project", "boot", "--machine", "gpu-1", "--server", semaphore.url)
        ran = subprocess.run(
            [*PROGRAM, "semaphore", "bootstrap", *words],
            cwd=tmp_path,
            env=environment(SEMAPHORE_ADMIN_PASSWORD="admin", HESTIA_STATE_DIR=str(tmp_path / "state")),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        (folder / ".env").write_text(ran.stdout)
        async with serving(folder, {"services": {"files": service}}) as gateway:
            gateway.http.timeout = 120
            assert (await gateway.get("/services/files/.env")).text == ran.stdout
            await gateway.until_line("service_cold", "files")
            automation = (await gateway.status("files"))["automation"]
            assert automation["last_task"]["status"] == "success"
    assert not listens(port)
