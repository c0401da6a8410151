"""`hestia version`: this client, and the gateway where one answers."""

from __future__ import annotations

import json
import platform

from hestia import __version__
from hestia.cli.command import command
from hestia.cli.entry import data_path, version_line
from hestia.cli.exits import CliError
from hestia.cli.session import Example, Session, client_options, current
from hestia.cli.text import plain


@command(
    "version",
    examples=(
        Example("hestia version", "client and gateway"),
        Example("hestia version --json", "for programs"),
    ),
)
@client_options
def version() -> None:
    """Show versions. Works without a gateway."""
    session = current()
    gateway, address = _gateway(session)
    if session.json:
        document = {
            "version": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "data_path": data_path(),
            "gateway": {"url": address, "version": gateway},
        }
        session.result(json.dumps(document))
    else:
        session.result(version_line())
        session.result(f"gateway {plain(gateway)} at {address}" if gateway else f"no gateway at {address}")
    if gateway and gateway != __version__:
        session.note(
            f"The gateway is version {plain(gateway)}, this client {__version__}; "
            "restart the gateway to bring them together."
        )


def _gateway(session: Session) -> tuple[str | None, str]:
    client = session.client()
    try:
        found = json.loads(client.call("GET", "/healthz", accept=(503,))[1])
    except (CliError, ValueError):
        return None, client.target.url
    known = found.get("version") if isinstance(found, dict) else None
    return (str(known) if known else None), client.target.url
