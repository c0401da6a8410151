"""What the doctor concludes from what it saw: plain functions, no socket, no disk."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import pytest

from hestia.cli.address import Holder
from hestia.cli.doctor import addresses, configuration, engines, folder, gateway, machine, ports, store
from hestia.cli.doctor.addresses import AddressLook
from hestia.cli.doctor.finding import Finding, Level
from hestia.cli.doctor.folder import MIB, FolderLook, Space
from hestia.cli.doctor.machine import ClockLook, FilesLook, MemoryLook
from hestia.cli.doctor.ports import PortLook
from hestia.cli.doctor.running import Running
from hestia.cli.exits import CliError, ExitCode
from hestia.core.model import Endpoint, GatewaySettings
from hestia.core.urls import parse_base_url
from hestia.edge.certificate import Loaded
from hestia.engines.process_launch import Launch
from hestia.engines.process_options import ProcessOptions
from hestia.runtime.probes import Answer

DAY = 86400.0
NOW = 1_800_000_000.0


def told(finding: Finding) -> str:
    """All its words."""
    return " ".join([finding.text, *finding.do])


# -- addresses ---------------------------------------------------------------------------------


def seen(
    answer: Answer,
    *,
    managed: bool = False,
    phase: str = "",
    holder: Holder | None = None,
    in_container: bool = False,
    instead: str = "",
    assumed: bool = False,
) -> AddressLook:
    return AddressLook(
        "chat", "http://127.0.0.1:9000/health", True, managed, answer, phase, True, holder,
        in_container, instead, assumed,
    )  # fmt: skip


REFUSED = Answer(False, True, 0, "connection refused")


def status(number: int) -> Answer:
    return Answer(200 <= number < 300, False, number, f"HTTP {number}")


@pytest.mark.parametrize(
    ("look", "level", "says"),
    [
        (seen(status(200)), Level.OK, "answers HTTP 200"),
        (seen(Answer(True, False, 0, "accepts connections")), Level.OK, "accepts connections"),
        (seen(status(404)), Level.FAIL, "correct health_url: it must answer 2xx"),
        (seen(status(401)), Level.FAIL, "needs no log-in"),
        (seen(status(403)), Level.FAIL, "needs no log-in"),
        (seen(status(302)), Level.FAIL, "redirects are not followed"),
        (seen(status(503)), Level.WARN, "is not ready"),
        (seen(REFUSED), Level.FAIL, "start it"),
        (seen(REFUSED, assumed=True), Level.WARN, "start it"),
        (seen(REFUSED, in_container=True), Level.FAIL, "host.docker.internal"),
        (seen(REFUSED, instead="http://host.docker.internal:9000"), Level.FAIL, "where something answers"),
        (seen(REFUSED, managed=True), Level.OK, "while it is asleep"),
        (seen(REFUSED, managed=True, phase="cold"), Level.OK, "while it is asleep"),
        (seen(REFUSED, managed=True, phase="hot"), Level.FAIL, "hestia restart chat"),
        (seen(status(200), managed=True, phase="cold", holder=Holder(812, "x")), Level.WARN, "x (pid 812)"),
        (seen(status(200), managed=True, phase="hot", holder=Holder(812, "x")), Level.OK, "HTTP 200"),
        (seen(Answer(False, False, 0, "TLS failed: WRONG_VERSION_NUMBER")), Level.FAIL, "write http://"),
        (seen(Answer(False, False, 0, "answered '\x15', which is not HTTP")), Level.FAIL, "write https://"),
        (seen(Answer(False, False, 0, "no answer within 3 s")), Level.FAIL, "curl -v"),
        (
            seen(Answer(False, False, 0, "its certificate is not accepted: x", untrusted=True)),
            Level.FAIL,
            "tls_verify",
        ),
    ],
)
def test_cl19_an_answer_means_something_for_its_service(look: AddressLook, level: Level, says: str) -> None:
    finding = addresses.judge(look)
    assert (finding.level, finding.check, finding.where) == (level, "address", "services.chat.health_url")
    assert says in told(finding)
    assert finding.level is Level.OK or finding.do


def test_text_of_a_stranger_cannot_drive_the_terminal() -> None:
    """CL-26."""
    finding = addresses.judge(seen(Answer(False, False, 404, "HTTP 404: \x1b[2Jhello")))
    assert "\x1b" not in finding.text


def test_an_address_that_leads_home_is_noticed() -> None:
    def home(address: str, *found: str) -> bool:
        endpoint = parse_base_url(address)
        resolved = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, endpoint.port)) for one in found]
        return addresses.leads_home(endpoint, list(resolved), 8080, frozenset({"10.0.0.7"}))

    assert home("http://gateway.lan:8080", "10.0.0.7")
    assert home("http://localhost:8080", "127.0.0.1")
    assert not home("http://gateway.lan:8081", "10.0.0.7")
    assert not home("http://other.lan:8080", "10.0.0.8")
    assert not addresses.leads_home(Endpoint("http", "", 0, unix_path="/x"), [], 8080, frozenset())


# -- ports -------------------------------------------------------------------------------------

TAKEN = OSError(errno.EADDRINUSE, "in use")


@pytest.mark.parametrize(
    ("look", "level", "says"),
    [
        (PortLook("port", "127.0.0.1", 8080), Level.OK, "is free"),
        (
            PortLook("port", "", 8080, TAKEN, Holder(5, "hestia"), "It is a Hestia.", True),
            Level.OK,
            "held by the running gateway, hestia (pid 5)",
        ),
        (PortLook("port", "", 8080, TAKEN, Holder(5, "nginx"), free=8081), Level.FAIL, "kill 5 take another"),
        (PortLook("port", "", 8080, TAKEN, Holder(), free=8081), Level.FAIL, "port: 8081"),
        (PortLook("port", "", 80, OSError(errno.EACCES, "no"), free=8080), Level.FAIL, "needs root"),
        (PortLook("port", "10.9.9.9", 80, OSError(errno.EADDRNOTAVAIL, "no")), Level.FAIL, "no network"),
        (PortLook("port", "x.lan", 80, socket.gaierror(-2, "no")), Level.FAIL, '"x.lan" is not an address'),
        (PortLook("port", "", 80, OSError(errno.ENOBUFS, "no")), Level.FAIL, "cannot listen"),
    ],
)
def test_cl19_a_port_is_free_ours_or_somebody_elses(look: PortLook, level: Level, says: str) -> None:
    finding = ports.judge(look)
    assert (finding.level, finding.check) == (level, "port")
    assert says in told(finding)


# -- the state folder, the disk, the database --------------------------------------------------


def state(**more: object) -> FolderLook:
    known: dict[str, object] = {"path": "/s", "there": "/s", "user": "me", "owner": "me", "mode": 0o700}
    return FolderLook(**{**known, **more})  # type: ignore[arg-type]  # a table of keyword arguments


@pytest.mark.parametrize(
    ("look", "level", "says"),
    [
        (state(), Level.OK, "/s belongs to me"),
        (state(pid=7), Level.OK, "in use by the gateway (pid 7)"),
        (state(there="/"), Level.OK, "made with the first start"),
        (state(owner="root", usable=False), Level.FAIL, "belongs to root (mode 700) sudo chown -R me /s"),
        (state(there="/", owner="root", usable=False), Level.FAIL, "cannot be made"),
        (state(refused="Permission denied"), Level.FAIL, "cannot be looked at by user me"),
        (state(is_folder=False), Level.FAIL, "is not a folder"),
        (state(read_only=True), Level.FAIL, "read-only"),
        (state(unusable=("hestia.db",)), Level.FAIL, "cannot read and write hestia.db"),
        (state(mode=0o777), Level.WARN, "chmod 700 /s"),
    ],
)
def test_cl19_the_state_folder_is_usable_or_says_for_whom(look: FolderLook, level: Level, says: str) -> None:
    finding = folder.judge(look)
    assert (finding.level, finding.where) == (level, "state_dir")
    assert says in told(finding)


@pytest.mark.parametrize(
    ("space", "output", "level"),
    [
        (Space("/s", 10 * 2**30, None), 0, Level.OK),
        (Space("/s", 10 * 2**30, 5), 0, Level.FAIL),
        (Space("/s", MIB, 10**6), 0, Level.FAIL),
        (Space("/s", 100 * MIB, 10**6), 0, Level.WARN),
        (Space("/s", 300 * MIB, 10**6), 60 * MIB, Level.WARN),
        (Space("/s", 400 * MIB, 10**6), 60 * MIB, Level.OK),
    ],
)
def test_cl19_free_room_is_judged_with_what_output_may_take(space: Space, output: int, level: Level) -> None:
    assert folder.judge_space(space, output).level is level


@pytest.mark.parametrize(
    ("first", "refused", "level"),
    [
        (None, "", Level.OK),
        (store.MAGIC, "", Level.OK),
        (b"", "", Level.OK),
        (b"hello", "", Level.FAIL),
        (b"", "Permission denied", Level.FAIL),
    ],
)
def test_cl19_the_database_is_one(first: bytes | None, refused: str, level: Level) -> None:
    assert store.judge(Path("/s/hestia.db"), first, 4096, refused).level is level


@pytest.mark.parametrize(
    ("count", "text"),
    [(5, "5 B"), (2048, "2.0 KiB"), (20 * 2**20, "20 MiB"), (int(1.5 * 2**30), "1.5 GiB"), (2**44, "16 TiB")],
)
def test_sizes_are_binary(count: int, text: str) -> None:
    assert folder.size_text(count) == text


# -- the machine -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("look", "level", "says"),
    [
        (ClockLook(NOW, (("f", NOW - 5),), 0.0, 0.0), Level.OK, "later than every file"),
        (ClockLook(NOW, (), 0.0, 0.0), Level.OK, ""),
        (ClockLook(NOW, (("f", NOW + 30),), 0.0, 0.0), Level.OK, ""),
        (ClockLook(NOW, (("f", NOW - 5), ("g", NOW + 600)), 0.0, 0.0), Level.WARN, "g is 10 min younger"),
        (ClockLook(NOW, (("f", NOW + 3 * DAY),), 0.0, 0.0), Level.FAIL, "f is 3 d younger"),
        (ClockLook(NOW, (), -2.0, 0.0), Level.WARN, "moved by -2.0 s"),
        (ClockLook(NOW, (), 0.0, 3600.0), Level.OK, "suspended for 1 h"),
    ],
)
def test_cl19_the_clock_is_later_than_what_was_written(look: ClockLook, level: Level, says: str) -> None:
    finding = machine.judge_clock(look)
    assert finding.level is level
    assert says in finding.text


@pytest.mark.parametrize(
    ("look", "level"),
    [
        (FilesLook(20_000), Level.OK),
        (FilesLook(1024), Level.WARN),
        (FilesLook(100), Level.FAIL),
        (FilesLook(20_000, used=30), Level.OK),
        (FilesLook(20_000, used=16_000), Level.FAIL),
    ],
)
def test_cl19_open_files_are_enough_for_clients(look: FilesLook, level: Level) -> None:
    assert machine.judge_files(look).level is level


@pytest.mark.parametrize(
    ("look", "level"),
    [
        (MemoryLook(2**33), Level.OK),
        (MemoryLook(100 * MIB, bound=True), Level.WARN),
        (MemoryLook(10 * MIB), Level.FAIL),
    ],
)
def test_cl19_memory_is_left(look: MemoryLook, level: Level) -> None:
    assert machine.judge_memory(look).level is level


@pytest.mark.parametrize(
    ("limit", "left"), [("max", None), (str(100 * MIB), 70 * MIB), (str(10 * MIB), 0), ("", None)]
)
def test_the_limit_of_a_container_counts_without_its_cache(
    tmp_path: Path, limit: str, left: int | None
) -> None:
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text(f"{50 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {20 * MIB}\n")
    assert machine.left_in(tmp_path) == left


def test_without_a_control_group_there_is_no_limit(tmp_path: Path) -> None:
    assert machine.left_in(tmp_path) is None


# -- configuration, engines --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begins", "ends", "level", "says"),
    [
        (NOW - DAY, NOW + 90 * DAY, Level.OK, "for 90 d"),
        (NOW - DAY, NOW + 2 * DAY, Level.WARN, "expires on"),
        (NOW - 9 * DAY, NOW - DAY, Level.FAIL, "has expired"),
        (NOW + DAY, NOW + 9 * DAY, Level.FAIL, "clock"),
    ],
)
def test_cl19_a_certificate_is_valid_now(begins: float, ends: float, level: Level, says: str) -> None:
    loaded = Loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), begins, ends)
    finding = configuration.validity(loaded, "/c.pem", NOW)
    assert finding.level is level
    assert says in told(finding)


@pytest.mark.parametrize(
    ("host", "level"),
    [("127.0.0.1", Level.OK), ("::1", Level.OK), ("localhost", Level.OK), ("0.0.0.0", Level.WARN)],
)
def test_cl19_access_depends_on_where_the_gateway_listens(host: str, level: Level) -> None:
    assert configuration.access(GatewaySettings(host=host)).level is level


@pytest.mark.parametrize(
    ("line", "found"),
    [(b"#!/bin/env a\n", "/bin/env"), (b"#! /no/such x", "/no/such"), (b"\x7fELF", ""), (b"#!\n", "")],
)  # fmt: skip
def test_the_first_line_of_a_script_names_its_interpreter(line: bytes, found: str) -> None:
    assert engines.interpreter_in(line) == found


def test_cl19_a_script_without_its_interpreter_cannot_start() -> None:
    options = ProcessOptions(command=["/opt/x"])
    plan = Launch("/opt/x", ("/opt/x",), None, {}, None)
    finding = engines.judge("chat", plan, options, "services.chat.engine", b"#!/no/such/python\n")
    assert finding.level is Level.FAIL
    assert "'/no/such/python'" in finding.text


def test_a_command_for_the_shell_is_honest_about_what_was_looked_at() -> None:
    options = ProcessOptions(command="exec model --port {port}")
    plan = Launch("/bin/sh", tuple(options.words), "/tmp/a b", {}, None)
    finding = engines.judge("chat", plan, options, "", b"\x7fELF")
    assert finding.level is Level.OK
    assert "the programs in it are not looked at, in '/tmp/a b'" in finding.text


# -- the running gateway -----------------------------------------------------------------------


def running(**more: object) -> Running:
    known: dict[str, object] = {
        "url": "http://localhost:8080", "version": "0.1.0", "started_at": "2026-01-01T00:00:00Z",
        "status": "ok", "ready": True, "problems": (), "config": None, "services": (),
    }  # fmt: skip
    return Running(**{**known, **more})  # type: ignore[arg-type]  # a table of keyword arguments


@pytest.mark.parametrize(
    ("found", "level", "says"),
    [
        (running(), Level.OK, "takes requests"),
        (running(status="failing", problems=("loop",)), Level.FAIL, "not healthy: loop"),
        (running(status="draining", ready=False), Level.WARN, "about to end"),
        (running(withheld="a key is needed"), Level.WARN, "HESTIA_API_KEY"),
    ],
)
def test_cl19_the_gateways_health_is_told(found: Running, level: Level, says: str) -> None:
    finding = gateway.health(found)
    assert finding.level is level
    assert says in told(finding)


def test_cl11_another_version_is_told() -> None:
    assert [one.level for one in gateway.version(running(version="9.9"))] == [Level.WARN]


@pytest.mark.parametrize(
    ("named", "pid", "code", "level"),
    [
        (False, 0, ExitCode.UNREACHABLE, Level.SKIP),
        (False, 7, ExitCode.UNREACHABLE, Level.WARN),
        (True, 0, ExitCode.UNREACHABLE, Level.FAIL),
        (False, 0, ExitCode.REFUSED, Level.FAIL),
    ],
)
def test_cl19_no_gateway_is_a_fault_only_where_one_was_named(
    named: bool, pid: int, code: ExitCode, level: Level
) -> None:
    error = CliError("refused", exit_code=code, remedy=("hestia serve",))
    assert gateway.absent(error, named=named, pid=pid, url="http://x").level is level


def test_a_failed_service_is_told_with_the_gateways_own_reason() -> None:
    finding = gateway.failed_service(
        {"serviceId": "chat", "lastError": {"detail": "no program\nLooked in /bin", "remedy": "install it"}}
    )
    assert finding.text == "chat has failed: no program"
    assert finding.do == ("install it", "hestia status chat")


def test_a_full_disk_is_mended_by_room_and_not_by_a_restart() -> None:
    said = 'store: The database "/x/a.db" is not written: its disk is full. To do: free some space there.'
    finding = gateway.health(running(status="failing", problems=(said,)))
    assert finding.text.endswith("its disk is full.")
    assert finding.do == ("free some space there",)
    finding = gateway.health(running(status="failing", problems=(said, "loop: it was 4.0 s late")))
    assert finding.do[0] == "free some space there"
    assert "hestia doctor --report" in finding.do[1]
