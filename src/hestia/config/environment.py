"""Environment variables → the same nodes that the file gives. Owns which variable says what (SPEC 2.2).

`<SERVICE>_<KEY>` sets a key, `X_BASE_URL` defines a service, `HESTIA_<KEY>` is the gateway's. An empty
variable counts as not set, as in Compose. Values are checked by `check`; only lists and mappings are read
here, since they are JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from hestia.config import later
from hestia.config.check import Checker
from hestia.config.errors import Problem, nearest, printable, shorten
from hestia.config.gateway import variable_of
from hestia.config.ids import ID, prefix_of
from hestia.config.models import GatewayKeys, ServiceKeys, kind_of, spellings
from hestia.config.rules import Nested
from hestia.config.tree import Node, Place, Source, problem_at
from hestia.config.values import Flag, Many

RESERVED: Final = ("HESTIA_", "SEMAPHORE_")
PATH_VARIABLE: Final = "HESTIA_CONFIG_PATH"
SERVICES_VARIABLE: Final = "HESTIA_ENV_SERVICES"
# read by the command line or clients, or set by engines and tests; not by the configuration
_FOREIGN: Final = frozenset(
    {
        "HESTIA_URL", "HESTIA_BASE_URL", "HESTIA_API_KEY", "HESTIA_KEY", "HESTIA_OPTIONS", "HESTIA_ENDPOINT",
        "HESTIA_HEALTH_URL",
    }
)  # fmt: skip
_FOREIGN_PREFIXES: Final = ("HESTIA_TEST_", "HESTIA_E2E_")
_DEFINES: Final = re.compile(r"([A-Z0-9][A-Z0-9_]*)_BASE_URL")
# keys so particular that they show a service was meant, even where nothing else names it
_TELLING: Final = re.compile(
    r"([A-Z0-9][A-Z0-9_]*?)_(SEMAPHORE_(?:ENABLED|MACHINE_ID|START_TEMPLATE_ID|STOP_TEMPLATE_ID|TASK_TIMEOUT"
    r"|POLL_INTERVAL)|IDLE_TIMEOUT(?:_MS|_SECONDS)?|REQUEST_TIMEOUT_SECONDS|FALLBACK_URL|WARMUP_MS)"
)
# Kubernetes and Docker links set X_PORT=tcp://… for every neighbour, and many programs read their own X_PORT
_NOT_OURS: Final = frozenset({"port"})
_SPELLED: Final = spellings(ServiceKeys)
_COMING: Final = later.spellings(later.SERVICE)
_TYPO_CUTOFF: Final = 0.88  # OLLAMA_HOST must not count as a mistyped OLLAMA_HOSTS
_TYPO_LENGTH: Final = 8


@dataclass(slots=True)
class FromEnvironment:
    """What the environment says. gateway: key → node. services: id → key → node. defined: ids that it
    defined, with the variable. mentioned: variables of services that nothing defines."""

    gateway: dict[str, Node] = field(default_factory=dict)
    services: dict[str, dict[str, Node]] = field(default_factory=dict)
    defined: dict[str, str] = field(default_factory=dict)
    mentioned: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Environment:
    """Reads one environment. variables: every variable that is set, `.env` included, as nodes.

    unfilled: those from `.env` with a `$NAME`. own: whether an address is the gateway's own.
    """

    def __init__(self, variables: Mapping[str, Node], unfilled: frozenset[str], checker: Checker) -> None:
        self._variables = {name: node for name, node in variables.items() if node.value != ""}
        self._unfilled = unfilled
        self._checker = checker
        self.result = FromEnvironment()

    def read_gateway(self) -> None:
        """Take the gateway's own variables."""
        known = {variable_of(name): key for name, key in spellings(GatewayKeys).items()}
        for name, node in self._variables.items():
            if name in later.ENVIRONMENT:
                self._refuse(node, later.refusal(later.ENVIRONMENT[name]).replace("the key", "the variable"))
            if not name.startswith(RESERVED):
                continue
            if name in known:
                key, unit = known[name]
                taken = self._value(node, GatewayKeys, key, unit)
                if taken is not None:
                    self._once(self.result.gateway, key, taken)
            elif name.startswith("SEMAPHORE_"):
                self._not_of_semaphore(name, node, known)
            elif name == PATH_VARIABLE and node.place.line:
                self._refuse(
                    node, f"{PATH_VARIABLE} has no effect in a .env file; set it in the environment itself"
                )
            elif not self._is_foreign(name) and name not in later.ENVIRONMENT:
                self._unknown(name, node, list(known))

    def read_services(self, ids: Iterable[str], *, may_define: bool) -> None:
        """Take the services' variables. ids: the services known so far."""
        prefixes = {prefix_of(one): one for one in ids}
        if may_define:
            self._define(prefixes)
        for name, node in self._variables.items():
            if name.startswith(RESERVED):
                continue
            if not self._set(name, node, prefixes) and may_define:
                telling = _TELLING.fullmatch(name)
                if telling is not None and telling[1] not in prefixes:
                    self.result.mentioned.setdefault(telling[1], []).append(name)

    def may_define(self) -> bool:
        """Whether `X_BASE_URL` defines a service (HESTIA_ENV_SERVICES)."""
        node = self._variables.get(SERVICES_VARIABLE)
        if node is None:
            return True
        try:
            return Flag().read(node.value)
        except ValueError as exc:
            self._refuse(node, f"expected {exc}")
            return True

    def _is_foreign(self, name: str) -> bool:
        own = name in (PATH_VARIABLE, SERVICES_VARIABLE)
        return own or name in _FOREIGN or name.startswith(_FOREIGN_PREFIXES)

    def _not_of_semaphore(self, name: str, node: Node, known: Iterable[str]) -> None:
        """Semaphore's own server has many variables of that prefix; only what looks mistyped is said."""
        ours = [one for one in known if one.startswith("SEMAPHORE_")]
        if near := nearest(name.lower(), [one.lower() for one in ours], cutoff=_TYPO_CUTOFF):
            self.result.warnings.append(
                f"{name} ({node.place.source.name}) means nothing to Hestia; did you mean {near.upper()}?"
            )

    def _unknown(self, name: str, node: Node, known: list[str]) -> None:
        near = nearest(name.lower(), [one.lower() for one in known], cutoff=0.8).upper()
        if near:
            self.result.problems.append(problem_at(node, name, "unknown variable", nearest=near))
        else:
            self.result.warnings.append(
                f"{printable(name)} ({node.place.source.name}) means nothing to Hestia and is not used"
            )

    def _define(self, prefixes: dict[str, str]) -> None:
        for name in self._variables:
            match = _DEFINES.fullmatch(name)
            if match is None or name.startswith(RESERVED) or match[1] in prefixes:
                continue
            service = match[1].lower().strip("_").replace("_", "-")
            if ID.fullmatch(service) and prefix_of(service) == match[1]:
                prefixes[match[1]] = service
                self.result.defined[service] = name

    def _set(self, name: str, node: Node, prefixes: Mapping[str, str]) -> bool:
        """Give the variable to the service and key that it names. Whether there is such a service."""
        at, belongs, typo = name.find("_"), False, ""
        while at > 0:
            service = prefixes.get(name[:at])
            if service is not None:
                key = name[at + 1 :].lower()
                if key in _SPELLED and key not in _NOT_OURS:
                    self._take(service, node, *_SPELLED[key])
                    return True
                if key in _COMING:
                    text = later.refusal(_COMING[key].feature).replace("the key", "the variable")
                    self._refuse(node, text)
                    return True
                belongs = True
                if len(key) >= _TYPO_LENGTH:
                    near = nearest(key, _SPELLED, cutoff=_TYPO_CUTOFF)
                    typo = f"{name[:at]}_{near.upper()}" if near else typo
            at = name.find("_", at + 1)
        if typo:
            self.result.warnings.append(
                f"{name} ({node.place.source.name}) is no key of a service; did you mean {typo}?"
            )
        return belongs

    def _take(self, service: str, node: Node, key: str, unit: str) -> None:
        taken = self._value(node, ServiceKeys, key, unit)
        if taken is not None:
            self._once(self.result.services.setdefault(service, {}), key, taken)

    def _value(self, node: Node, model: type[GatewayKeys | ServiceKeys], key: str, unit: str) -> Node | None:
        """The node as the key takes it: JSON is read where a list or mapping is expected."""
        name = node.place.variable
        if name in self._unfilled:
            self._refuse(
                node,
                "the '$' in this value is not filled in here",
                "write the value out, or put it in single quotes",
            )
            return None
        kind = kind_of(model.model_fields[key])
        if kind is not None and not isinstance(kind, Many | Nested):
            return Node(node.value, node.place, name=key, unit=unit)
        is_list = isinstance(kind, Many) or (isinstance(kind, Nested) and kind.many)
        opener, what = ("[", "a list") if is_list else ("{", "a mapping")
        try:
            value = json.loads(str(node.value))
        except (ValueError, RecursionError):
            value = None
        if isinstance(kind, Nested) and (said := kind.said(node.value)) is not None:
            return Node(said, node.place, name=key)
        if not isinstance(value, list if is_list else dict):
            example = '["a", "b"]' if opener == "[" else '{"type": "none"}'
            example = kind.example if isinstance(kind, Nested) else example
            self._refuse(node, f"expected {what} as JSON, such as {example}")
            return None
        return _nodes(value, node.place, key)

    def _once(self, into: dict[str, Node], key: str, node: Node) -> None:
        """Set a key; two forms of it in one source are an error, the environment wins over `.env`."""
        known = into.get(key)
        if known is None or (known.place.line and not node.place.line):
            into[key] = node
        elif bool(known.place.line) == bool(node.place.line):
            self._refuse(node, f"says the same as {known.place.variable}", "keep one of the two")

    def _refuse(self, node: Node, text: str, remedy: str = "") -> None:
        self.result.problems.append(problem_at(node, node.place.variable, text, remedy=remedy))


def variables_of(environ: Mapping[str, str]) -> dict[str, Node]:
    """The process environment as nodes."""
    source = Source("environment")
    return {name: Node(value, Place(source, variable=name)) for name, value in environ.items()}


def _nodes(value: object, place: Place, name: str) -> Node:
    """JSON as nodes, all at the place of their variable."""
    if isinstance(value, dict):
        return Node(
            {str(key): _nodes(one, place, str(key)) for key, one in value.items()}, place, place, name
        )
    if isinstance(value, list):
        return Node([_nodes(one, place, name) for one in value], place, place, name)
    assert value is None or isinstance(value, str | int | float | bool), "JSON knows nothing else"
    return Node(value, place, place, name)


def told(variables: Iterable[str]) -> str:
    """Variables in few words, for a warning."""
    return shorten(", ".join(sorted(variables)), 120)
