"""Nodes + model → checked values, collecting every problem on the way.

Owns spelling (unknown keys, two forms of one key, keys of later versions), secrets (`{env: NAME}`,
`{file: PATH}`) and the words for what pydantic finds. What the values mean together is for `build`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from hestia.config import later
from hestia.config.errors import Problem, is_secret_name, nearest, one_of, show
from hestia.config.later import Later
from hestia.config.machines import NAME
from hestia.config.models import kind_of, spellings
from hestia.config.rules import Nested
from hestia.config.synonyms import meant
from hestia.config.tree import Node, problem_at
from hestia.config.values import Many
from hestia.core.rules import Unquoted

M = TypeVar("M", bound=BaseModel)
Detail = Mapping[str, Any]  # an item of ValidationError.errors(); Any because its parts differ by error
Schema = Mapping[str, Any]  # a JSON Schema, likewise

SECRET_KINDS: Final = ("env", "file")
NO_SUCH_KEY: Final = "remove it, or look for its name: docs/configuration-reference.md"
_UNIT_WORDS: Final = {"ms": "milliseconds", "s": "seconds"}
_TYPES: Final = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


class Checker:
    """Collects problems. secret: (`env` or `file`, name) → text; raises LookupError with a sentence."""

    def __init__(self, secret: Callable[[str, str], str]) -> None:
        self.problems: list[Problem] = []
        self._secret = secret
        self.secrets: set[str] = set()  # every text that was filled in
        self._spellings: dict[type[BaseModel], dict[str, tuple[str, str]]] = {}
        self._schemas: dict[type[BaseModel], Schema] = {}

    def add(self, node: Node, key: str, text: str, **more: Any) -> None:  # Any: passed on to problem_at
        self.problems.append(problem_at(node, key, text, **more))

    # -- keys ----------------------------------------------------------------------------------

    def spellings(self, model: type[BaseModel]) -> dict[str, tuple[str, str]]:
        """`models.spellings`, remembered."""
        if model not in self._spellings:
            self._spellings[model] = spellings(model)
        return self._spellings[model]

    def keys(
        self,
        node: Node,
        model: type[BaseModel],
        path: str,
        *,
        coming: Mapping[str, Later],
        elsewhere: Mapping[str, str],
        also: Sequence[str] = (),
    ) -> dict[str, Node]:
        """Field → node, for the keys that are known. coming: spellings of keys that are not built yet.
        elsewhere: keys of other mappings → where they belong. also: further keys of this mapping, for the
        nearest one. Values are not looked at."""
        found: dict[str, Node] = {}
        known = self.spellings(model)
        for name, child in (node.mapping or {}).items():
            full = f"{path}.{name}" if path else name
            if name in known:
                self._known(child, name, full, known[name], found)
            elif name in coming:
                self.add(child, full, later.refusal(coming[name].feature), at_key=True)
            else:
                self._unknown(child, name, full, [*known, *coming, *also], elsewhere)
        return found

    def _known(
        self, child: Node, name: str, full: str, spelled: tuple[str, str], found: dict[str, Node]
    ) -> None:
        field, unit = spelled
        if field in found:
            first = found[field]
            self.add(
                child,
                full,
                f"says the same as {first.name!r} ({first.place.words()})",
                at_key=True,
                remedy="keep one of the two",
            )
            return
        if child.value is None and not child.place.variable:
            self.add(child, full, "has no value", at_key=True, remedy="write a value, or remove the key")
            return
        if unit:
            child = Node(child.value, child.place, child.key, child.name, unit=unit, raw=child.raw)
        found[field] = child

    def _unknown(
        self, child: Node, name: str, full: str, known: Sequence[str], elsewhere: Mapping[str, str]
    ) -> None:
        home = elsewhere.get(name, "")
        near = meant(name, known)
        if home and not (near and near != name and nearest(name, [near], cutoff=0.9)):
            self.add(child, full, "unknown key here", at_key=True, remedy=f"write it under {home}")
            return
        remedy = "" if near else NO_SUCH_KEY
        self.add(child, full, "unknown key", at_key=True, nearest=near, remedy=remedy)

    # -- values --------------------------------------------------------------------------------

    def values(self, model: type[M], given: Mapping[str, Node], path: str) -> M:
        """The model of these values; a field that is wrong is reported and keeps its default."""
        ready: dict[str, Node] = {}
        made: dict[str, object] = {}
        for name, node in given.items():
            kind = kind_of(model.model_fields[name])
            if isinstance(kind, Nested):
                made |= self._nested(kind, name, node, f"{path}.{node.name or name}".removeprefix("."))
                continue
            resolved = self._leaf(model, name, node, f"{path}.{node.name or name}" if path else name)
            if resolved is not None:
                ready[name] = resolved
        while True:
            try:
                return model.model_validate({**made, **{name: node.plain() for name, node in ready.items()}})
            except ValidationError as exc:
                for detail in exc.errors(include_url=False):
                    field = str(detail["loc"][0])
                    if field in ready:
                        self._kind_problem(model, field, ready.pop(field), detail, path)

    def _nested(self, kind: Nested, name: str, node: Node, full: str) -> dict[str, object]:
        """The key with what its mappings became; empty when something in them is wrong."""
        if (said := kind.said(node.value)) is not None:
            return {name: said}
        if kind.named:
            return self._named(kind, name, node, full)
        if not kind.many:
            one = self.options(kind.model, node, full)
            return {} if one is None else {name: one}
        if not isinstance(node.value, list):
            self._wrong(node, full, f"expected {kind.words}", kind.words)
            return {}
        items = [self.options(kind.model, item, f"{full}[{at}]") for at, item in enumerate(node.value)]
        return {} if any(item is None for item in items) else {name: items}

    def _named(self, kind: Nested, name: str, node: Node, full: str) -> dict[str, object]:
        """The same for mappings by name."""
        if node.mapping is None:
            self._wrong(node, full, f"expected {kind.words}", kind.words)
            return {}
        made: dict[str, object] = {}
        for of, child in node.mapping.items():
            if not NAME.fullmatch(of):
                text = "expected a name of letters, digits, '.', '-' and '_', at most 63 long"
                self.add(child, f"{full}.{of}", text, at_key=True, remedy="use another name")
            given = Node({}, child.place, child.key, child.name) if child.value is None else child
            made[of] = self.options(kind.model, given, f"{full}.{of}")
        return {} if None in made.values() else {name: made}

    def _leaf(self, model: type[BaseModel], name: str, node: Node, full: str) -> Node | None:
        """The node with its secrets and its unit settled; None when that failed."""
        kind = kind_of(model.model_fields[name])
        if kind is None:
            return node
        if isinstance(node.value, list) and isinstance(kind, Many):
            items = [self._text(item, f"{full}[{at}]") for at, item in enumerate(node.value)]
            if any(item is None for item in items):
                return None
            return Node([item for item in items if item is not None], node.place, node.key, node.name)
        resolved = self._text(node, full)
        if resolved is None or not resolved.unit or _is_amount(resolved.value):
            return resolved
        expected = f"a number of {_UNIT_WORDS[resolved.unit]}"
        short = (node.name or name).rpartition("_")[0]
        self._wrong(
            node, full, f"expected {expected}", expected, remedy=f"with a unit, write it as `{short}`"
        )
        return None

    def _text(self, node: Node, full: str) -> Node | None:
        """Fill a secret in where the node asks for one."""
        asked = node.mapping
        if asked is not None and set(asked) == set(SECRET_KINDS):
            self.add(node, full, "names two sources of a secret", remedy="write env or file, not both")
            return None
        if asked is None or len(asked) != 1:
            return node
        kind, name = next(iter(asked.items()))
        if kind not in SECRET_KINDS:
            return node
        if not isinstance(name.value, str) or not name.value:
            words = "the name of a variable" if kind == "env" else "the path of a file"
            self._wrong(name, f"{full}.{kind}", f"expected {words}", words)
            return None
        try:
            text = self._secret(kind, name.value)
        except LookupError as exc:
            self.add(name, f"{full}.{kind}", str(exc.args[0]))
            return None
        self.secrets.add(text)
        # said on the node itself too: whoever names its source or quotes its value later must know
        node.secret = f"environment {name.value}" if kind == "env" else f"file {name.value}"
        return Node(text, node.place, node.key, node.name, secret=node.secret, unit=node.unit)

    def _wrong(self, node: Node, full: str, text: str, expected: str = "", *, remedy: str = "") -> None:
        hide = bool(node.secret) or is_secret_name(node.name or full.rpartition(".")[2])
        if not node.place.variable:
            text = f"{text}, found {'***' if hide else show(node.value)}"
        self.add(node, full, text, expected=expected, remedy=remedy, hide=hide)

    def _kind_problem(
        self, model: type[BaseModel], field: str, node: Node, detail: Detail, path: str
    ) -> None:
        full = f"{path}.{node.name or field}" if path else (node.name or field)
        kind = kind_of(model.model_fields[field])
        said = str(detail.get("ctx", {}).get("error", "")) if detail["type"] == "value_error" else ""
        if isinstance(node.value, list) and isinstance(kind, Many):
            for at, item in enumerate(node.value):
                try:
                    kind.item.read(item.plain())
                except ValueError as exc:
                    self._said(item, f"{full}[{at}]", str(exc), kind.item.words)
            return
        self._said(node, full, said or "a mapping", kind.words if kind else "a mapping")

    def _said(self, node: Node, full: str, said: str, words: str) -> None:
        """A kind's complaint: an expectation, or with "= " a sentence of its own."""
        if said.startswith("= "):
            # the sentence quotes the value, so it is kept back for a secret
            text = f"the secret from {node.secret} is no address" if node.secret else said[2:]
            self.add(node, full, text, expected=words, hide=bool(node.secret))
        else:
            self._wrong(node, full, f"expected {said}", said)

    # -- options of engines --------------------------------------------------------------------

    def options(self, model: type[M], node: Node, path: str) -> M | None:
        """An engine's options, checked by the engine's own model; None when they are wrong."""
        schema = self._schema(model)
        before = len(self.problems)
        ready = self._fill(node, schema, schema, path)
        if len(self.problems) > before or ready is None:
            return None
        try:
            return model.model_validate(ready.plain())
        except ValidationError as exc:
            self._options_problems(exc.errors(include_url=False), ready, schema, path)
            return None

    def _schema(self, model: type[BaseModel]) -> Schema:
        if model not in self._schemas:
            self._schemas[model] = model.model_json_schema()
        return self._schemas[model]

    def _fill(self, node: Node, schema: Schema, root: Schema, path: str) -> Node | None:
        """A copy with secrets filled in where the schema takes a text and no mapping."""
        branches = _branches(schema, root)
        kinds = {branch.get("type") for branch in branches}
        if "string" in kinds and "object" not in kinds:
            filled = self._text(node, path)
            if filled is not node:
                return filled
        value: dict[str, Node] | list[Node]
        if isinstance(node.value, dict):
            parts = {
                name: self._fill(child, _below(branches, name), root, f"{path}.{name}")
                for name, child in node.value.items()
            }
            value = {name: part for name, part in parts.items() if part is not None}
        elif isinstance(node.value, list):
            items = [
                self._fill(child, _below(branches, None), root, f"{path}[{at}]")
                for at, child in enumerate(node.value)
            ]
            value = [item for item in items if item is not None]
        else:
            return node
        return Node(value, node.place, node.key, node.name)

    def _options_problems(self, details: Sequence[Detail], node: Node, root: Schema, path: str) -> None:
        """One problem per place; of a union's complaints those about the innermost place count."""
        places: dict[tuple[str | int, ...], list[Detail]] = {}
        for detail in details:
            way = _way(detail["loc"], node)
            places.setdefault(way, []).append(detail)
        for way, said in places.items():
            if any(len(other) > len(way) and other[: len(way)] == way for other in places) and way:
                continue
            target = _at(node, way)
            full = path + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in way)
            self._option_problem(said, target, full, root, way)

    def _option_problem(
        self, said: Sequence[Detail], node: Node, full: str, root: Schema, way: tuple[str | int, ...]
    ) -> None:
        for detail in said:
            name = str(detail["loc"][-1]) if detail["loc"] else ""
            if detail["type"] == "missing":
                self.add(node, f"{full}.{name}", "is missing", at_key=True, remedy=f"add `{name}` here")
            elif detail["type"] == "extra_forbidden":
                known = _names(root, way[:-1])
                near = nearest(name, known)
                remedy = "" if near else NO_SUCH_KEY if known else "remove it; this engine takes no options"
                self.add(node, full, "unknown key", at_key=True, nearest=near, remedy=remedy)
        rest = [one for one in said if one["type"] not in ("missing", "extra_forbidden")]
        if not rest:
            return
        sentence = next((one for one in rest if one["type"] == "value_error"), None)
        if sentence is not None:
            text = str(sentence["ctx"]["error"]).removeprefix("= ")
            of_key = tuple(sentence["loc"][-1:]) == ("[key]",)  # a name is no secret
            hide = any(child.secret for child in node.walk()) or is_secret_name(node.name)
            if of_key:
                self.add(node, full, text, at_key=True, hide=hide)
                return
            if hide and not isinstance(sentence["ctx"]["error"], Unquoted):
                text = "the value cannot be used here (it holds a secret and is not shown)"
            self.add(node, full, text, hide=hide)
            return
        expected = one_of(dict.fromkeys(_expectation(one) for one in rest))
        self._wrong(node, full, f"expected {expected}", expected)


def _is_amount(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return value >= 0
    return isinstance(value, str) and (
        value.strip() == "never" or value.strip().replace(".", "", 1).isdigit()
    )


def _expectation(detail: Detail) -> str:
    kind, limits = str(detail["type"]), detail.get("ctx", {})
    if kind in _TYPES:
        return _TYPES[kind]
    if kind in ("greater_than_equal", "less_than_equal"):
        return f"at least {limits['ge']}" if "ge" in limits else f"at most {limits['le']}"
    if kind in ("greater_than", "less_than"):
        return f"more than {limits['gt']}" if "gt" in limits else f"less than {limits['lt']}"
    if kind in ("too_short", "string_too_short"):
        return "something that is not empty"
    if kind in ("literal_error", "enum"):
        return str(limits.get("expected", ""))
    return str(detail["msg"])


def _way(loc: Sequence[str | int], node: Node) -> tuple[str | int, ...]:
    """The part of pydantic's location that leads through the nodes; names of union branches fall out."""
    way: list[str | int] = []
    for step in loc:
        if isinstance(node.value, dict) and step in node.value:
            node = node.value[str(step)]
        elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        else:
            continue
        way.append(step)
    return tuple(way)


def _at(node: Node, way: Sequence[str | int]) -> Node:
    for step in way:
        if isinstance(node.value, dict):
            node = node.value[str(step)]
        elif isinstance(node.value, list):
            node = node.value[int(step)]
    return node


def _branches(schema: Schema, root: Schema) -> list[Schema]:
    """The alternatives of a schema, references followed."""
    if "$ref" in schema:
        return _branches(root.get("$defs", {}).get(str(schema["$ref"]).rpartition("/")[2], {}), root)
    inner = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    if not inner:
        return [schema]
    return [branch for one in inner for branch in _branches(one, root)]


def _below(branches: Sequence[Schema], name: str | None) -> Schema:
    """The schema of a key, or with None of the items, whichever alternative has one."""
    for branch in branches:
        if name is None:
            found = branch.get("items")
        else:
            found = branch.get("properties", {}).get(name) or branch.get("additionalProperties")
        if isinstance(found, Mapping):
            return found
    return {}


def _names(root: Schema, way: Sequence[str | int]) -> list[str]:
    """The keys that the mapping at `way` may have."""
    schema: Schema = root
    for step in way:
        schema = _below(_branches(schema, root), None if isinstance(step, int) else step)
    return [name for branch in _branches(schema, root) for name in branch.get("properties", {})]
