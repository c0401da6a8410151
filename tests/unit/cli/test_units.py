"""The text of the systemd units: what is quoted, where it listens, what a user's unit has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hestia.cli.units import Wanted, addresses, quoted, service_unit, socket_unit


def wanted(*, system: bool, doors: tuple[tuple[str, int], ...] = (("127.0.0.1", 8080),)) -> Wanted:
    return Wanted(
        command=["/opt/my py/python", "-m", "hestia.cli", "serve", "--config", "/etc/100%.yml"],
        folder=Path("/etc/100%"),
        doors=doors,
        environment={"PATH": "/usr/bin", "HESTIA_NOTE": 'a "b" $c'},
        user="anna" if system else "",
        system=system,
    )


def test_ad_08_the_gateway_alone_is_ended_and_the_watchdog_is_on() -> None:
    for system in (False, True):
        lines = service_unit(wanted(system=system)).splitlines()
        for line in ("KillMode=process", "Type=notify", "Restart=on-failure", "Requires=hestia.socket"):
            assert line in lines
        assert any(line.startswith("WatchdogSec=") for line in lines)


def test_words_are_quoted_as_systemd_reads_them() -> None:
    text = service_unit(wanted(system=False))
    assert 'ExecStart="/opt/my py/python" -m hestia.cli serve --config /etc/100%%.yml' in text
    assert "WorkingDirectory=/etc/100%%" in text
    assert 'Environment="HESTIA_NOTE=a \\"b\\" $$c"' in text
    assert quoted("") == '""'


def test_a_system_unit_has_its_user_state_and_target() -> None:
    system, user = service_unit(wanted(system=True)), service_unit(wanted(system=False))
    for line in ("User=anna", "StateDirectory=hestia", "WantedBy=multi-user.target"):
        assert line in system
        assert line not in user
    assert "WantedBy=default.target" in user


def test_every_door_is_listened_on_by_number() -> None:
    text = socket_unit(wanted(system=True, doors=(("0.0.0.0", 80), ("::1", 81))))
    assert "ListenStream=0.0.0.0:80\nListenStream=[::1]:81\n" in text
    assert "127.0.0.1:8080" in addresses("localhost", 8080)
    with pytest.raises(OSError, match=r".+"):
        addresses("no such name.invalid", 80)
