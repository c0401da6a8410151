"""Certificates for one test run: an authority that nobody else trusts, and what it issues."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

import trustme

from hestia.core.model import Tls


class Authority:
    """Issues certificates. pem: its own, for who shall trust it."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> bytes:
        return self._ca.cert_pem.bytes()

    def trusting(self) -> ssl.SSLContext:
        """What a client has that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context

    def serving(self, *names: str) -> ssl.SSLContext:
        """What a server of these names has."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def write(
        self, folder: Path, *names: str, until: datetime | None = None, since: datetime | None = None
    ) -> Tls:
        """A certificate and its key as files. names: `localhost` by default."""
        issued = self._ca.issue_cert(*(names or ("localhost",)), not_after=until, not_before=since)
        folder.mkdir(exist_ok=True)
        certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return Tls(certificate=str(certificate), key=str(key))
