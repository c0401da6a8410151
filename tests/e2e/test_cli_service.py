"""`hestia service` without a systemd: what it shows, what it refuses, and with which remedy (CL-28)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hestia.cli.commands import service
from tests.e2e.cli import Caller


@pytest.fixture
def hestia(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Caller:
    """In an empty folder, whose `.config` is the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HESTIA_ENV_SERVICES", "off")
    monkeypatch.setenv("HESTIA_API_KEY", "canary")
    monkeypatch.setattr(service, "RUNS", tmp_path / "no systemd here")
    return Caller(capsys)


def test_cl_28_dry_run_shows_both_units_and_writes_nothing(hestia: Caller, tmp_path: Path) -> None:
    (tmp_path / "hestia_config.yml").write_text("port: 8123\n")
    ran = hestia("service", "install", "--dry-run")
    assert ran.code == 0, ran.err
    for part in ("hestia.service", "hestia.socket", "ListenStream=127.0.0.1:8123", "KillMode=process"):
        assert part in ran.out
    assert str(tmp_path / "hestia_config.yml") in ran.out
    assert "canary" not in ran.out
    assert not (tmp_path / "config").exists()


def test_cl_28_where_no_systemd_runs_it_says_what_to_do_instead(hestia: Caller, tmp_path: Path) -> None:
    ran = hestia("service", "install", "--yes")
    assert ran.code == 1
    assert "No systemd runs here" in ran.err
    assert "hestia serve" in ran.err
    assert not (tmp_path / "config").exists()


def test_cl_28_a_broken_configuration_is_told_first(hestia: Caller, tmp_path: Path) -> None:
    (tmp_path / "hestia_config.yml").write_text("prot: 8123\n")
    ran = hestia("service", "install", "--dry-run")
    assert ran.code == 1
    assert "prot" in ran.err


def test_cl_28_uninstall_of_nothing_is_already_so(hestia: Caller) -> None:
    ran = hestia("service", "uninstall")
    assert (ran.code, ran.out.startswith("Already so")) == (0, True)


def test_cl_28_run_as_is_for_a_system_unit(hestia: Caller) -> None:
    assert hestia("service", "install", "--run-as", "anna", "--dry-run").code == 2
