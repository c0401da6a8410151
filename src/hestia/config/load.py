"""Loads the configuration: command line over environment over `.env` over file over defaults.

The only module of the package that reads the environment and the disk. `load` builds everything anew and
raises `ConfigProblems` with all faults of all sources; nothing is half loaded.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from hestia.config import later
from hestia.config.build import OLLAMA, Around, Builder, Own
from hestia.config.check import Checker
from hestia.config.dotenv import DotEnv, read_dotenv
from hestia.config.environment import (
    PATH_VARIABLE,
    Environment,
    FromEnvironment,
    told,
    variables_of,
)
from hestia.config.errors import ConfigProblems, Problem, printable, show
from hestia.config.front import check_files, sources_of, with_paths
from hestia.config.ids import is_id
from hestia.config.models import GatewayKeys, ServiceKeys
from hestia.config.telemetry import INSTALL, MISSING, is_installed
from hestia.config.template import template_faults
from hestia.config.tree import Node, Place, Source
from hestia.config.yaml_tree import Unreadable, read_yaml
from hestia.core.model import GatewaySettings, InstanceSettings, OnExit, ServiceId, Settings
from hestia.core.strategy import Strategies
from hestia.core.urls import fill_port, parse_base_url

FILE_NAMES: Final = ("hestia_config.yml", "hestia_config.yaml")
_FILE_MAX: Final = 32 * 2**20  # bytes; a larger file is no configuration
_SECRET_MAX: Final = 64 * 2**10  # bytes


def load(
    *,
    path: str | None,
    environ: Mapping[str, str],
    cwd: str,
    overrides: Mapping[str, object] = {},
    engines: Mapping[str, type[BaseModel]],
    strategies: Callable[[str], Strategies] = lambda _folder: Strategies(),
    which: Callable[[str], str | None] = shutil.which,
) -> Settings:
    """The settings. Raises ConfigProblems.

    path: of the file, from `--config`; None looks at HESTIA_CONFIG_PATH, then in `cwd`. overrides: top-level
    keys from the command line (`port`, `log_level`, …); None means not given. engines: name → model of its
    options. strategies: finds those there are, given the folder of the user's own. which: finds a program on
    the PATH.
    """
    return _Loader(path, environ, cwd, overrides, engines, strategies, which).run()


class _Loader:
    """One run of `load`."""

    def __init__(
        self,
        path: str | None,
        environ: Mapping[str, str],
        cwd: str,
        overrides: Mapping[str, object],
        engines: Mapping[str, type[BaseModel]],
        strategies: Callable[[str], Strategies],
        which: Callable[[str], str | None],
    ) -> None:
        self._path = path
        self._environ = environ
        self._cwd = Path(cwd)
        self._overrides = overrides
        self._engines = engines
        self._strategies = strategies
        self._which = which
        self._base = self._cwd  # folder of the file: `.env`, secrets and state_dir count from here
        self._variables: dict[str, Node] = {}
        self._warnings: list[str] = []
        self._secret_files: set[str] = set()
        self.checker = Checker(self._secret)

    def run(self) -> Settings:
        file = self._find()
        root = None if file is None else self._read_file(file)
        dotenv = self._read_dotenv()
        self._variables = {**dotenv.values, **variables_of(self._environ)}
        unfilled = frozenset(name for name in dotenv.unfilled if name not in self._environ)
        environment = Environment(self._variables, unfilled, self.checker)
        gateway_nodes, services, is_default = self._file_keys(root)
        environment.read_gateway()
        gateway = self._gateway({**gateway_nodes, **environment.result.gateway, **self._command_line()})
        environment.read_services(
            [*services, OLLAMA] if is_default else services, may_define=environment.may_define()
        )
        strategies = self._strategies(gateway.strategies)
        self._take_engines(strategies)
        built = self._build(gateway, services, environment.result, strategies, is_default=is_default)
        problems = [*self.checker.problems, *environment.result.problems]
        if problems:
            raise ConfigProblems(problems, self._secret_files)
        return Settings(
            gateway=gateway,
            services=built.services,
            sources={**self._sources, **built.sources},
            warnings=(*self._warnings, *environment.result.warnings, *built.warnings),
            config_path="" if file is None else str(file),
            secret_files=tuple(sorted(self._secret_files)),
            secrets=frozenset({*self.checker.secrets, *_written_secrets(gateway)}),
            shared=built.shared,
            strategies=strategies,
        )

    def _take_engines(self, strategies: Strategies) -> None:
        """Those of files too, unless an installed one has that name."""
        own = {name: one.plugin.Options for name, one in strategies.engines.items()}
        self._warnings += [
            f"{strategies.engines[name].origin}: there is an engine {name!r} already, so that of the file is "
            "not used; give it another name"
            for name in own
            if name in self._engines
        ]
        self._engines = {**own, **self._engines}

    # -- reading -------------------------------------------------------------------------------

    def _find(self) -> Path | None:
        """The file to read; None when there is none. A file that was named must exist."""
        named, by = self._path, "--config"
        if named is None:
            named, by = self._environ.get(PATH_VARIABLE) or None, PATH_VARIABLE
        if named is not None:
            path = self._cwd / os.path.expanduser(named)
            self._base = path.parent
            if not os.path.isfile(path):
                self._complain(
                    f"{named} {_why_no_file(path)}", by=by, remedy=f"correct {by}, or leave it out"
                )
                return None
            return path
        found = [self._cwd / name for name in FILE_NAMES if os.path.lexists(self._cwd / name)]
        if len(found) > 1:
            self._complain(
                f"{FILE_NAMES[0]} and {FILE_NAMES[1]} both exist here", remedy="keep one of the two files"
            )
        if found and not os.path.isfile(found[0]):
            # a container's mount of a file that is missing makes a folder of that name
            name = self._shown(found[0])
            self._file_problem(name, _why_no_file(found[0]), "put the file there, or remove this")
            return None
        return found[0] if found else None

    def _complain(self, text: str, *, by: str = "", remedy: str = "") -> None:
        source = {"": FILE_NAMES[0], PATH_VARIABLE: "environment"}.get(by, "command line")
        self.checker.problems.append(Problem(source=source, key=by, text=text, remedy=remedy))

    def _shown(self, path: Path) -> str:
        """The path as people know it: relative when it is below the working directory."""
        try:
            return str(path.relative_to(self._cwd))
        except ValueError:
            return str(path)

    def _text(self, path: Path) -> str | None:
        name = self._shown(path)
        try:
            data = path.read_bytes()
        except OSError as exc:
            self._file_problem(
                name, f"cannot be read: {exc.strerror}", "see that the gateway's user can read it"
            )
            return None
        if len(data) > _FILE_MAX:
            self._file_problem(
                name, f"is larger than {_FILE_MAX // 2**20} MiB", "split off what is no configuration"
            )
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            read = data[: exc.start].decode("utf-8-sig")
            source = Source(name, tuple(data[: exc.start + 80].decode("utf-8-sig", "replace").split("\n")))
            column = len(read) - read.rfind("\n")
            place = Place(source, read.count("\n") + 1, column)
            text = f"the byte 0x{data[exc.start]:02x} is no UTF-8 text"
            self.checker.add(Node(None, place), "", text, remedy="save the file as UTF-8")
            return None

    def _file_problem(self, name: str, text: str, remedy: str) -> None:
        self.checker.problems.append(Problem(source=name, text=text, remedy=remedy))

    def _read_file(self, path: Path) -> Node | None:
        text = self._text(path)
        if text is None:
            return None
        source = Source(self._shown(path), tuple(text.splitlines()))
        try:
            root, problems = read_yaml(text, source)
        except Unreadable as exc:
            self.checker.problems.append(exc.problem)
            return None
        self.checker.problems.extend(problems)
        if root is not None and root.mapping is None and root.value is not None:
            self.checker.add(root, "", f"expected keys such as `services:`, found {show(root.value)}")
            return None
        return root

    def _read_dotenv(self) -> DotEnv:
        path = self._base / ".env"
        text = self._text(path) if os.path.isfile(path) else None  # False where the folder is closed to us
        if text is None:
            return DotEnv({}, frozenset(), [])
        found = read_dotenv(Source(self._shown(path), tuple(text.splitlines())))
        self.checker.problems.extend(found.problems)
        return found

    def _secret(self, kind: str, name: str) -> str:
        """The text of a secret. Raises LookupError with a sentence."""
        if kind == "env":
            node = self._variables.get(name)
            if node is None or not node.value:
                raise LookupError(f"the variable {name} is not set")
            return str(node.value)
        path = self._base / os.path.expanduser(name)
        self._secret_files.add(str(path))
        try:
            data = path.read_bytes()
            text = data.decode().removesuffix("\n").removesuffix("\r")
        except OSError as exc:
            raise LookupError(f"the file {name} cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise LookupError(f"the file {name} is not UTF-8 text") from exc
        if not text or len(data) > _SECRET_MAX:
            raise LookupError(f"the file {name} is {'too large' if text else 'empty'}")
        return text

    def _command_line(self) -> dict[str, Node]:
        source = Source("command line")
        given: dict[str, Node] = {}
        for name, value in self._overrides.items():
            if value is None:
                continue
            if name not in GatewayKeys.model_fields:
                raise KeyError(f"{name} is no key of the gateway")
            plain: Any = value  # Any: whatever the caller hands over, the key's kind checks it
            given[name] = Node(plain, Place(source, variable="--" + name.replace("_", "-")), name=name)
        return given

    # -- keys ----------------------------------------------------------------------------------

    def _file_keys(self, root: Node | None) -> tuple[dict[str, Node], dict[str, dict[str, Node]], bool]:
        """The gateway's keys, the services with theirs, and whether the file leaves services to us."""
        self._places: dict[str, Node] = {}
        top = dict((root.mapping if root is not None else None) or {})
        services = top.pop("services", None)
        if root is not None:
            root = Node(top, root.place)
            gateway = self.checker.keys(
                root,
                GatewayKeys,
                "",
                coming=later.spellings(later.GATEWAY),
                also=("services",),
                elsewhere=dict.fromkeys(
                    self.checker.spellings(ServiceKeys), "`services:` and the service's id"
                ),
            )
        else:
            gateway = {}
        if services is None or services.value is None:
            return gateway, {}, True
        if services.mapping is None:
            self.checker.add(
                services, "services", f"expected service ids with their keys, found {show(services.value)}"
            )
            return gateway, {}, False
        return gateway, self._service_keys(services.mapping), False

    def _service_keys(self, services: Mapping[str, Node]) -> dict[str, dict[str, Node]]:
        found: dict[str, dict[str, Node]] = {}
        prefixes: dict[str, str] = {}
        coming = later.spellings(later.SERVICE)
        for name, node in services.items():
            path = f"services.{printable(name)}"
            if not is_id(self.checker, name, node, path, prefixes):
                continue
            self._places[name] = node
            if node.value is None:
                found[name] = {}
            elif node.mapping is None:
                self.checker.add(node, path, f"expected keys such as `base_url:`, found {show(node.value)}")
            else:
                elsewhere = {
                    **dict.fromkeys(GatewayKeys.model_fields, "the top of the file"),
                    **dict.fromkeys(("command", "cmd", "cwd", "env", "user", "type"), f"{path}.engine"),
                    **dict.fromkeys(("image", "unit"), f"{path}.engine"),
                }
                found[name] = self.checker.keys(node, ServiceKeys, path, coming=coming, elsewhere=elsewhere)
        return found

    def _gateway(self, given: Mapping[str, Node]) -> GatewaySettings:
        keys = self.checker.values(GatewayKeys, given, "")
        unread = "machines" in given and given["machines"].mapping and not keys.machines
        self._machines = None if unread else keys.machines
        self._sources = {name: node.words() for name, node in given.items()}  # after: secrets are known now
        plain = {name: getattr(keys, name) for name in GatewayKeys.model_fields}
        plain |= {"on_exit": OnExit(keys.on_exit), "orphan_policy": OnExit(keys.orphan_policy)}
        plain["state_dir"] = self._state_dir(keys.state_dir)
        plain["strategies"] = str(self._base / os.path.expanduser(keys.strategies))
        plain["database_url"] = self._database_url(keys.database_url)
        if keys.waiting_page:
            plain["waiting_page"] = path = str(self._base / os.path.expanduser(keys.waiting_page))
            self._warnings += [f"waiting_page: {text}" for text in template_faults(path)]
        if keys.tls is not None:
            plain["tls"] = tls = with_paths(keys.tls, self._base)
            self._sources.update(sources_of(given["tls"]))
            if warning := check_files(tls, given["tls"], self.checker):
                self._warnings.append(f"tls: {warning}")
        if keys.telemetry is not None and not is_installed():
            self.checker.add(given["telemetry"], "telemetry", MISSING, at_key=True, remedy=INSTALL)
        return GatewaySettings(**plain)

    def _state_dir(self, written: str) -> str:
        """Where state is kept (experience.md 7)."""
        environ = self._environ
        if written:
            return str(self._base / os.path.expanduser(written))
        systemd = environ.get("STATE_DIRECTORY", "").partition(":")[0]
        if systemd:
            self._sources["state_dir"] = "environment STATE_DIRECTORY"
            return systemd
        xdg = environ.get("XDG_STATE_HOME", "")
        if os.path.isabs(xdg):
            self._sources["state_dir"] = "environment XDG_STATE_HOME"
            return os.path.join(xdg, "hestia")
        home = environ.get("HOME") or os.path.expanduser("~")
        return os.path.join(home, ".local", "state", "hestia")

    def _database_url(self, written: str) -> str:
        scheme, is_file, path = written.partition("///")
        return f"{scheme}///{self._base / os.path.expanduser(path)}" if is_file else written

    # -- services ------------------------------------------------------------------------------

    def _build(
        self,
        gateway: GatewaySettings,
        services: Mapping[str, dict[str, Node]],
        found: FromEnvironment,
        strategies: Strategies,
        *,
        is_default: bool,
    ) -> Builder:
        own = Own(gateway.host, gateway.port, frozenset({socket.gethostname().lower()}))
        texts = {name: str(node.value) for name, node in self._variables.items()}
        around = Around(
            engines=self._engines,
            which=self._which,
            environ=texts,
            own=own,
            gateway=gateway,
            strategies=strategies,
            machines=self._machines,
        )
        builder = Builder(self.checker, around)
        for name, node in self._own_addresses(found, own):
            self._warnings.append(
                f"{node.place.variable}={node.value} is this gateway's own address and is not used for "
                f"services.{name}; unset it where the gateway runs"
            )
        ids = dict.fromkeys([*([OLLAMA] if is_default else []), *services])
        for name, variable in found.defined.items():
            if "base_url" in found.services.get(name, {}):
                ids[name] = None
                builder.sources.setdefault(f"services.{name}", self._variables[variable].words())
        default = Node(None, Place(Source("default")))
        for name in ids:
            given = {**services.get(name, {}), **found.services.get(name, {})}
            place = self._places.get(name) or next(iter(given.values()), default)
            builder.add(name, given, place)
        builder.finish()
        if is_default and list(ids) == [OLLAMA] and OLLAMA not in found.services:
            self._warn_of_default(builder.services[ServiceId(OLLAMA)].instances[0])
        for prefix, variables in found.mentioned.items():
            if prefix.lower().replace("_", "-") not in ids:
                self._warnings.append(
                    f"{told(variables)}: there is no service {prefix.lower().replace('_', '-')!r}, "
                    f"so this has no effect; set {prefix}_BASE_URL to define it"
                )
        return builder

    def _warn_of_default(self, ollama: InstanceSettings) -> None:
        """Nothing is configured, and what is assumed then cannot be started here (FM-04)."""
        if not ollama.managed and self._which(OLLAMA) is None:
            self._warnings.append(
                f"nothing is configured and there is no program {OLLAMA!r} on the PATH: only looking whether "
                f"one answers at {ollama.base_url}; install it, or name your own services: "
                f"hestia config example > {FILE_NAMES[0]}, or see how it works: hestia demo"
            )

    def _own_addresses(self, found: FromEnvironment, own: Own) -> list[tuple[str, Node]]:
        """Base URLs of the environment that lead back to this gateway; taken out of what was found."""
        dropped = []
        for name, nodes in found.services.items():
            node = nodes.get("base_url")
            if node is None:
                continue
            try:
                endpoint = parse_base_url(fill_port(str(node.value).strip(), 1))
            except ValueError:
                continue
            if own.is_here(endpoint):
                del nodes["base_url"]
                dropped.append((name, node))
        return dropped


def _written_secrets(gateway: GatewaySettings) -> set[str]:
    """Secrets that stand where anybody can read them: told to nobody all the same."""
    return {text for text in (gateway.semaphore_api_key, gateway.semaphore_password) if text}


def _why_no_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return "cannot be looked at: this user may not enter its folder"
    except OSError:
        mode = 0
    if mode:
        return "is a folder, not a file" if stat.S_ISDIR(mode) else "is no ordinary file"
    return "leads to a file that does not exist" if path.is_symlink() else "does not exist"
