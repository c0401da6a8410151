"""Where the gateway is (CL-12): `--url`, `HESTIA_URL`, else localhost with the port configured here.

Reads the environment, `.env` and the file by a light scan: the client must answer at once, and loading
the configuration in full takes longer than most commands. `hestia.config` owns the real reading.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from hestia.cli.exits import CliError, ExitCode

DEFAULT_PORT: Final = 8080
FILE_NAMES: Final = ("hestia_config.yml", "hestia_config.yaml")
SCAN_LIMIT: Final = 1_000_000  # bytes of the file that are looked at
LISTENING: Final = frozenset({"0.0.0.0", "::", "*", ""})


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway's address. path: prefix without final slash. source: where the address came from.

    verify: whether its certificate has to be good for that name. Our own on this machine is for another one.
    configured: it is where a gateway started here would listen.
    """

    scheme: str
    host: str
    port: int
    path: str
    source: str
    verify: bool = True
    configured: bool = False

    @property
    def url(self) -> str:
        """The address as one would type it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def find_target(url: str | None, environment: Mapping[str, str], folder: Path) -> Target:
    """The gateway's address. Raises CliError when an address that was given cannot be used."""
    if url:
        return _parse(url, "--url")
    if environment.get("HESTIA_URL"):
        return _parse(environment["HESTIA_URL"], "HESTIA_URL")
    port, host, source = _local(environment, folder)
    scheme = "https" if _has_tls(environment, folder) else "http"
    # 0 means "pick one": which one was picked cannot be known from here.
    return Target(scheme, _reachable(host), port or DEFAULT_PORT, "", source, verify=False, configured=True)


def _parse(text: str, source: str) -> Target:
    whole = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CliError(
            f'{source} is "{text}"; expected an address such as http://localhost:8080.',
            exit_code=ExitCode.USAGE,
            code="usage",
        )
    default = 443 if parts.scheme == "https" else (80 if "://" in text else DEFAULT_PORT)
    return Target(
        parts.scheme, _reachable(parts.hostname), port or default, parts.path.rstrip("/"), f"from {source}"
    )


def _reachable(host: str) -> str:
    """A listening address such as 0.0.0.0 is never a target."""
    return "localhost" if host in LISTENING else host


def _local(environment: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
    """Port, host and where they came from, as a gateway started in this folder would find them."""
    file = config_file(environment, folder)
    dotenv = _dotenv(file, folder)
    host = environment.get("HESTIA_HOST") or dotenv.get("HESTIA_HOST") or scalar(file, "host") or "localhost"
    for name, values in (("the environment", environment), (".env", dotenv)):
        if (text := values.get("HESTIA_PORT", "")).isdecimal():
            return int(text), host, f"HESTIA_PORT in {name}"
    if file is not None and (text := scalar(file, "port")).isdecimal():
        return int(text), host, f"the port in {file.name}"
    return DEFAULT_PORT, host, "the default address"


def _has_tls(environment: Mapping[str, str], folder: Path) -> bool:
    """Whether a gateway started in this folder would speak HTTPS."""
    file = config_file(environment, folder)
    if environment.get("HESTIA_TLS") or _dotenv(file, folder).get("HESTIA_TLS"):
        return True
    return any(re.match(r"tls\s*:", line) for line in _lines(file))


def _dotenv(file: Path | None, folder: Path) -> dict[str, str]:
    """The `.env` beside the configuration file, as the gateway reads it."""
    return scan_dotenv((folder if file is None else file.parent) / ".env")


def config_file(environment: Mapping[str, str], folder: Path) -> Path | None:
    """The configuration file that a gateway started here would read, or None."""
    named = environment.get("HESTIA_CONFIG_PATH")
    paths = [folder / named] if named else [folder / name for name in FILE_NAMES]
    return next((path for path in paths if os.path.isfile(path)), None)


def service_ids(file: Path | None) -> list[str]:
    """Ids below `services:` in the file, by a light scan; empty when it cannot be read."""
    found: list[str] = []
    indent = ""
    inside = False
    for line in _lines(file):
        if re.match(r"\S", line):
            inside = bool(re.match(r"services\s*:\s*(#.*)?$", line))
            continue
        match = re.match(r"( +)[\"']?([A-Za-z0-9_.-]+)[\"']?\s*:", line)
        if inside and match:
            indent = indent or match[1]
            if match[1] == indent:
                found.append(match[2])
    return found


def scalar(file: Path | None, key: str) -> str:
    """The value of a top-level key, "" without one."""
    pattern = re.compile(rf"{key}\s*:\s*[\"']?([^\s\"'#]+)")
    return next((match[1] for line in _lines(file) if (match := pattern.match(line))), "")


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        with file.open("rb") as stream:
            text = stream.read(SCAN_LIMIT)
    except OSError:
        return []
    lines = text.decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def scan_dotenv(file: Path) -> dict[str, str]:
    """The gateway's own variables in a `.env` file, by a light scan."""
    found = {}
    for line in _lines(file):
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if separator and name.startswith("HESTIA_"):
            found[name.strip()] = value.strip().strip("\"'")
    return found


def read_key(key_file: str | None, environment: Mapping[str, str]) -> str:
    """The API key, "" without one; never taken from a flag's value, which `ps` would show."""
    if not key_file:
        return environment.get("HESTIA_API_KEY", "")
    try:
        return Path(os.path.expanduser(key_file)).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise CliError(
            f'The key file "{key_file}" cannot be read: {reason}.',
            exit_code=ExitCode.USAGE,
            code="usage",
            remedy=("Name a file that holds the key and nothing else: --key-file PATH",),
        ) from exc
