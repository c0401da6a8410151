"""The certificate of the front door: read, checked, and read again when its files change.

Owns the TLS settings of the listener. What is wrong with the files is said in a sentence that names the key
of `tls:` it belongs to; a broken renewal never takes the certificate away that works.
"""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from hestia.core.errors import ConfigError
from hestia.core.model import Tls

log = logging.getLogger(__name__)

LOOK_INTERVAL: Final = 10.0  # seconds between looks at the files
EXPIRY_NOTICE: Final = 7 * 86400.0  # seconds before the end from which on it is said
SAY_AGAIN: Final = 86400.0  # seconds between two warnings of the same kind
FILE_MAX: Final = 1024 * 1024  # bytes; a chain takes a few KiB
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"
_PRIVATE: Final = b"PRIVATE KEY-----"
_UTC_TIME: Final = 0x17  # DER tags (X.690 §8), as far as the dates of a certificate need them
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0

Stamp = tuple[tuple[int, int, int], ...]


class TlsUnusable(ConfigError):
    """The files of `tls:` cannot be used. part: the key it is about. text: the sentence without it."""

    def __init__(self, part: str, text: str, *, remedy: str) -> None:
        super().__init__(f"tls.{part}: {text}", remedy=remedy)
        self.part = part
        self.text = text


@dataclass(frozen=True, slots=True)
class Loaded:
    """Files that fit together. begins, ends: of the first certificate, seconds since 1970."""

    context: ssl.SSLContext
    begins: float
    ends: float

    def warning(self, now: float) -> str:
        """What is to be said about its dates, or ""."""
        if now >= self.ends:
            return f"the certificate has expired on {_date(self.ends)}: clients refuse it; renew it"
        if now < self.begins:
            return f"the certificate is valid from {_date(self.begins)} on only: look at this machine's clock"
        if self.ends - now < EXPIRY_NOTICE:
            return (
                f"the certificate expires on {_date(self.ends)}; renew it, the gateway takes the new one up"
            )
        return ""


def load(tls: Tls) -> Loaded:
    """Read the files and check that they fit. Raises TlsUnusable."""
    chain = _read(tls.certificate, "certificate")
    key = _read(tls.key, "key")
    if _BEGIN not in chain:
        raise _no_certificate(tls, chain, key)
    if _PRIVATE not in key:
        raise TlsUnusable(
            "key",
            f"{tls.key} holds no private key in PEM form",
            remedy="name the file with BEGIN PRIVATE KEY; from DER: openssl pkey -inform der -in A -out B",
        )
    begins, ends = _dates(tls, chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _load_chain(context, tls)
    return Loaded(context, begins, ends)


def _load_chain(context: ssl.SSLContext, tls: Tls) -> None:
    asked = False

    def password() -> str:  # without one of ours, OpenSSL would ask on the terminal
        nonlocal asked
        asked = True
        return tls.key_password

    try:
        context.load_cert_chain(tls.certificate, tls.key, password)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        if isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError):  # read a moment ago, and gone
            raise TlsUnusable(
                "certificate",
                f"{tls.certificate} and {tls.key} cannot be read: {exc.strerror or exc}",
                remedy="see that both files are there",
            ) from exc
        reason = getattr(exc, "reason", "") or str(exc)
        if reason == "KEY_VALUES_MISMATCH":
            raise TlsUnusable(
                "key",
                f"{tls.key} is not the key of {tls.certificate}",
                remedy="name the key that it was issued for; a chain begins with its own certificate",
            ) from exc
        if asked and not tls.key_password:
            raise TlsUnusable(
                "key_password",
                f"{tls.key} is encrypted, and there is no password for it",
                remedy="add key_password: {file: PATH}, or take it off: openssl pkey -in KEY -out NEW",
            ) from exc
        if asked:
            raise TlsUnusable(
                "key_password", f"does not open {tls.key}", remedy="correct the password"
            ) from exc
        raise TlsUnusable(
            "certificate",
            f"{tls.certificate} and {tls.key} cannot be used ({reason})",
            remedy="make them anew; what is in one: openssl x509 -noout -text -in CERTIFICATE",
        ) from exc


def _read(path: str, part: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        remedy = "correct the path"
        if isinstance(exc, PermissionError):
            remedy = "let the user that runs the gateway read it"
        raise TlsUnusable(part, f"{path} cannot be read: {reason}", remedy=remedy) from exc
    if len(data) > FILE_MAX:
        raise TlsUnusable(part, f"{path} is larger than 1 MiB", remedy="name a PEM file")
    return data


def _no_certificate(tls: Tls, chain: bytes, key: bytes) -> TlsUnusable:
    if _PRIVATE in chain and _BEGIN in key:
        return TlsUnusable(
            "certificate",
            f"{tls.certificate} holds a key, and {tls.key} the certificate",
            remedy="swap the two paths",
        )
    return TlsUnusable(
        "certificate",
        f"{tls.certificate} holds no certificate in PEM form",
        remedy="name the file with BEGIN CERTIFICATE; from DER: openssl x509 -inform der -in FILE -out NEW",
    )


# -- dates -------------------------------------------------------------------------------------


def _dates(tls: Tls, chain: bytes) -> tuple[float, float]:
    """From when to when the first certificate is valid (RFC 5280 §4.1): the standard library tells nobody."""
    start = chain.index(_BEGIN)
    try:
        end = chain.index(_END, start) + len(_END)
        der = ssl.PEM_cert_to_DER_cert(chain[start:end].decode("ascii"))
        certificate = next(_parts(der))[1]
        fields = _parts(next(_parts(certificate))[1])
        tag, _ = next(fields)
        if tag == _VERSION:
            next(fields)  # the serial number; without a version that was it
        next(fields)  # algorithm
        next(fields)  # issuer
        first, last = _parts(next(fields)[1])
        return _instant(*first), _instant(*last)
    except (ValueError, IndexError, StopIteration) as exc:
        raise TlsUnusable(
            "certificate",
            f"{tls.certificate} is damaged: its first certificate cannot be read",
            remedy="copy the file anew",
        ) from exc


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element in a row."""
    at = 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size & 0x80:
            width = size & 0x7F
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        if at + size > len(data):
            raise ValueError("cut off")
        yield tag, data[at : at + size]
        at += size


def _instant(tag: int, text: bytes) -> float:
    """UTCTime has two digits for the year, of 1950 to 2049; GeneralizedTime has four."""
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _date(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M UTC")


# -- renewal -----------------------------------------------------------------------------------


class Certificate:
    """What the listener shows now. `look` takes changed files up; new connections get the new one.

    clock: wall-clock seconds.
    """

    def __init__(self, tls: Tls) -> None:
        """Raises TlsUnusable."""
        self._tls = tls
        self._stamp = _stamp(tls)
        self._loaded = load(tls)
        self._seen = self._stamp  # of the last look
        self._look_at = 0.0
        self._say_at = 0.0

    @property
    def context(self) -> ssl.SSLContext:
        return self._loaded.context

    def look(self, now: float) -> None:
        """Called by the sweep. now: loop-clock seconds."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_INTERVAL
        stamp = _stamp(self._tls)
        # Both files are replaced one after the other: taken up once they have stayed for one look.
        if stamp != self._stamp and stamp == self._seen:
            self._renew(stamp)
        self._seen = stamp
        if now >= self._say_at and (warning := self._loaded.warning(time.time())):
            self._say_at = now + SAY_AGAIN
            log.warning("tls: %s", warning, extra={"event_type": "certificate_expiry"})

    def _renew(self, stamp: Stamp) -> None:
        self._stamp = stamp  # a fault is said once, until the files change again
        try:
            self._loaded = load(self._tls)
        except TlsUnusable as exc:
            log.warning(
                "%s; the gateway goes on with the certificate it has until %s. Do: %s",
                exc.detail,
                _date(self._loaded.ends),
                exc.remedy,
                extra={"event_type": "certificate_refused"},
            )
            return
        self._say_at = 0.0
        log.info(
            "The certificate was renewed; it is valid until %s",
            _date(self._loaded.ends),
            extra={"event_type": "certificate_renewed"},
        )


def _stamp(tls: Tls) -> Stamp:
    """Changes when a file does; links are followed."""
    found = []
    for path in (tls.certificate, tls.key):
        try:
            status = os.stat(path)
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
