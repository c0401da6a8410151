"""The files of `tls:`: each fault names its key and what to do; dates are read from the certificate."""

from __future__ import annotations

import errno
import os
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from hestia.core.model import Tls
from hestia.edge.certificate import TlsUnusable, load
from tests.fakes.certificates import Authority

AUTHORITY = Authority()


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return AUTHORITY.write(tmp_path / "tls")


def encrypted(tls: Tls, password: bytes) -> Tls:
    key = load_pem_private_key(Path(tls.key).read_bytes(), None)
    Path(tls.key).write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    )
    return tls


def fault(tls: Tls) -> TlsUnusable:
    with pytest.raises(TlsUnusable) as caught:
        load(tls)
    assert caught.value.remedy
    return caught.value


def test_files_that_fit_are_taken(tls: Tls) -> None:
    loaded = load(tls)
    assert loaded.begins < datetime.now(UTC).timestamp() < loaded.ends


def test_a_missing_file_is_named(tls: Tls) -> None:
    for part in ("certificate", "key"):
        found = fault(replace(tls, **{part: "/nowhere/x.pem"}))
        assert (found.part, "/nowhere/x.pem" in found.text) == (part, True)


def test_two_files_that_are_swapped_are_told(tls: Tls) -> None:
    found = fault(replace(tls, certificate=tls.key, key=tls.certificate))
    assert (found.part, found.remedy) == ("certificate", "swap the two paths")


def test_another_certificates_key_is_told(tls: Tls, tmp_path: Path) -> None:
    other = AUTHORITY.write(tmp_path / "other")
    found = fault(replace(tls, key=other.key))
    assert (found.part, "is not the key of" in found.text) == ("key", True)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x30\x82\x01\x02\x00\xff", b"\x00" * 100])
def test_a_file_of_another_kind_is_told(tls: Tls, content: bytes) -> None:
    for part in ("certificate", "key"):
        path = Path(getattr(tls, part))
        good = path.read_bytes()
        path.write_bytes(content)
        assert fault(tls).part == part
        path.write_bytes(good)


def test_a_certificate_that_is_damaged_is_told(tls: Tls) -> None:
    path = Path(tls.certificate)
    lines = path.read_text().splitlines()
    for broken in (
        [*lines[:2], lines[-1]],  # cut off
        [*lines[:3], "%%%%", *lines[3:]],
        [lines[0], lines[-1]],
        lines[:5],
    ):
        path.write_text("\n".join(broken))
        assert fault(tls).part == "certificate"


def test_a_certificate_that_only_begins_after_other_text_is_told(tls: Tls) -> None:
    """A slice whose end lies before its start is empty in Python, and an error once compiled."""
    path = Path(tls.certificate)
    begin, first, *_ = path.read_text().splitlines()
    path.write_text("\n".join(["# chain of example.org, made by an authority", begin, first]))
    found = fault(tls)
    assert (found.part, "is damaged" in found.text) == ("certificate", True)


def test_files_that_vanish_while_they_are_read_are_told(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", gone)
    found = fault(tls)
    assert (found.part, os.strerror(errno.ENOENT) in found.text) == ("certificate", True)


def test_an_encrypted_key_needs_its_password(tls: Tls) -> None:
    tls = encrypted(tls, b"sesame")
    assert fault(tls).part == "key_password"
    wrong = fault(replace(tls, key_password="abracadabra"))
    assert (wrong.part, "abracadabra" in str(wrong)) == ("key_password", False)
    load(replace(tls, key_password="sesame"))


def test_a_password_that_nobody_asks_for_does_no_harm(tls: Tls) -> None:
    load(replace(tls, key_password="sesame"))


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        (-9, -1, "has expired on"),
        (1, 9, "is valid from"),
        (-9, 3, "expires on"),
        (-9, 60, ""),
        (-9, 365 * 40, ""),  # beyond 2049 dates are written in another form
    ],
)
def test_its_dates_are_warned_of(tmp_path: Path, since: int, until: int, said: str) -> None:
    now = datetime.now(UTC)
    tls = AUTHORITY.write(
        tmp_path / "tls", since=now + timedelta(days=since), until=now + timedelta(days=until)
    )
    warning = load(tls).warning(now.timestamp())
    assert said in warning
    assert bool(said) == bool(warning)
