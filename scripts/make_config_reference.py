"""Write docs/configuration-reference.md from the models of the configuration and of the engines.

What is no key is told in scripts/configuration_reference.md, which has a place for each table.

python scripts/make_config_reference.py            write it
python scripts/make_config_reference.py --check    write nothing; exit 1 when the file is stale
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hestia.config import later
from hestia.config.errors import one_of
from hestia.config.gateway import variable_of
from hestia.config.instances import InstanceKeys
from hestia.config.models import BackoffKeys, GatewayKeys, ServiceKeys, kind_of
from hestia.config.rules import Nested
from hestia.config.values import Duration, Many, duration_text
from hestia.engines.registry import load_engines
from hestia.strategies.registry import Finder

TARGET = Path(__file__).resolve().parent.parent / "docs" / "configuration-reference.md"

PROSE = Path(__file__).resolve().parent / "configuration_reference.md"
MADE = "<!-- Made by scripts/make_config_reference.py from the models and scripts/{}; edit those. -->"


def render() -> str:
    """The page as it is stored."""
    engines = {name: plugin.Options for name, plugin in load_engines().items()}
    made = {
        "made": MADE.format(PROSE.name),
        "gateway keys": _keys(GatewayKeys, variable_of),
        "service keys": _keys(ServiceKeys, lambda name: f"<SERVICE>_{name.upper()}"),
        "backoff keys": _keys(BackoffKeys, lambda name: ""),
        "instance keys": _keys(InstanceKeys, lambda name: ""),
        "strategies": "\n".join(
            _strategy(name, one.plugin.Options) for name, one in Finder()("").loaded.items()
        ),
        "engines": "\n".join(_engine(name, model) for name, model in engines.items()),
        "not yet": _not_yet(),
    }
    text = PROSE.read_text(encoding="utf-8")
    for name, part in made.items():
        assert text.count(f"<!-- {name} -->") == 1, f"{PROSE.name} has one place for {name}"
        text = text.replace(f"<!-- {name} -->", part.strip("\n"))
    return text


def _keys(model: type[BaseModel], variable: Callable[[str], str]) -> str:
    return "\n".join(_key(name, field, variable(name)) for name, field in model.model_fields.items())


def _key(name: str, field: FieldInfo, variable: str) -> str:
    extra: Any = field.json_schema_extra  # Any: pydantic types it wider than the models write it
    kind = kind_of(field)
    if isinstance(kind, Duration):
        of_what = "[duration](#values)" + (", or `never`" if kind.endless else "")
    elif kind is None:
        where = {"engine": "engines", "routing": "options-of-strategies"}.get(name, name)
        of_what = f"mapping, see [below](#{where})"
    else:
        of_what = kind.words
    facts = [f"Type: {of_what}", f"Default: {_default(field, extra)}"]
    if isinstance(kind, Duration):
        facts.append(f"Also: `{name}_ms`, `{name}_seconds`")
    if variable:
        as_json = kind is None or isinstance(kind, Many | Nested)
        facts.append(f"Environment: `{variable}`" + (" (JSON)" if as_json else ""))
    facts.append(f"Since: {extra['since']}")
    lines = "\n".join(f"- {fact}" for fact in facts)
    return f"### {name}\n\n{field.description}\n\n{lines}\n\n```yaml\n{name}: {_yaml(_example(field))}\n```\n"


def _default(field: FieldInfo, extra: Mapping[str, Any]) -> str:
    if "shown" in extra:
        return str(extra["shown"])
    value = field.default
    if isinstance(value, BaseModel):
        return "the defaults of its keys"
    return "none" if value in ("", (), None) else f"`{_plain(field, value)}`"


def _example(field: FieldInfo) -> object:
    return field.examples[0] if field.examples else _plain(field, field.default)


def _plain(field: FieldInfo, value: object) -> object:
    """A default as it would be written in the file."""
    if isinstance(kind_of(field), Duration) and isinstance(value, int | float):
        return duration_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _yaml(value: object) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_yaml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_yaml(one) for one in value) + "]"
    text = str(value)
    return json.dumps(text) if "{" in text or text == "" else text


# -- strategies --------------------------------------------------------------------------------


def _strategy(name: str, model: type[BaseModel]) -> str:
    schema: Any = model.model_json_schema()  # Any: a JSON Schema nests freely
    about = " ".join(str(schema.get("description", "")).split())
    text = f"### Strategy {name}\n\n{about}\n\n"
    text += "| option | type | default | what it does | since |\n|---|---|---|---|---|\n"
    return text + "".join(_routing_rows("", schema, schema.get("$defs", {})))


def _routing_rows(before: str, schema: Any, defs: Mapping[str, Any]) -> Iterator[str]:  # Any: as above
    for key, rule in schema["properties"].items():
        kinds = [_followed(one, defs) for one in rule.get("anyOf", [rule]) if one.get("type") != "null"]
        kind = kinds[0]
        items = _followed(kind.get("items", {}), defs)
        inner = kind if "properties" in kind else items if "properties" in items else None
        word = "list of mappings" if inner is items and inner else _routing_type(kind)
        default = (
            "these" if inner is kind and rule.get("default") else _routing_default(rule.get("default"), kind)
        )
        needed = "required" if key in schema.get("required", ()) else default
        yield f"| `{before}{key}` | {word} | {needed} | {rule.get('description', '')} | 0.1 |\n"
        if inner is not None:
            yield from _routing_rows(f"{before}{key}{'[]' if inner is items else ''}.", inner, defs)


def _followed(rule: Any, defs: Mapping[str, Any]) -> Any:  # Any: as above
    return defs[rule["$ref"].rpartition("/")[2]] if "$ref" in rule else rule


def _routing_type(kind: Mapping[str, Any]) -> str:
    if "enum" in kind:
        return " or ".join(f"`{one}`" for one in kind["enum"])
    if (pattern := kind.get("pattern", "")).endswith("(ms|s|m|h|d)$"):
        return "duration"
    if pattern.endswith("KiB)$"):
        return "size"
    named = {"integer": "whole number", "array": "list", "object": "mapping", "boolean": "true or false"}
    return named.get(kind.get("type", ""), str(kind.get("type", "text")).replace("string", "text"))


def _routing_default(value: object, kind: Mapping[str, Any]) -> str:
    if value in (None, "", {}, []):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if _routing_type(kind) == "duration" and isinstance(value, int | float):
        return f"`{duration_text(value)}`"
    if _routing_type(kind) == "size" and isinstance(value, int):
        return f"`{value // 1024}KiB`"
    return f"`{_yaml(value)}`"


# -- engines -----------------------------------------------------------------------------------


def _engine(name: str, model: type[BaseModel]) -> str:
    schema: Mapping[str, Any] = model.model_json_schema()  # Any: a JSON Schema nests freely
    about = " ".join(str(schema.get("description", "")).split())
    text = f"### Engine {name}\n\n{about}\n\n"
    options = schema.get("properties", {})
    if not options:
        return f"{text}```yaml\nengine: {{type: {name}}}\n```\n"
    text += "| option | type | default | what it does | example | since |\n|---|---|---|---|---|---|\n"
    for option, rule in options.items():
        needed = option in schema.get("required", ())
        default = "required" if needed else _option_default(rule)
        example = _option_example(model, option, rule)
        shown = f"`{option}: {_yaml(example)}`" if example is not None else ""
        text += (
            f"| `{option}` | {_type(rule)} | {default} | {rule.get('description', '')} | {shown} "
            f"| {rule.get('since', '0.1')} |\n"
        )
    return text


def _option_default(rule: Mapping[str, Any]) -> str:
    value = rule.get("default")
    if rule.get("pattern", "").endswith("B$") and isinstance(value, int):
        return f"`{value // 2**20}MiB`"
    return "none" if value in (None, {}, []) else f"`{_yaml(value)}`"


def _option_example(model: type[BaseModel], option: str, rule: Mapping[str, Any]) -> object:
    examples = rule.get("examples") or model.model_fields[option].examples or ()
    return examples[0] if examples else None


def _type(rule: Mapping[str, Any]) -> str:
    """A JSON Schema in words."""
    if "anyOf" in rule:
        words = [_type(one) for one in rule["anyOf"] if one.get("type") != "null"]
        return one_of(dict.fromkeys(words))
    if str(rule.get("pattern", "")).endswith("B$"):
        return "[size](#values)"
    kinds = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    if rule.get("type") == "array":
        return f"list of {_type(rule.get('items', {}))}s"
    if rule.get("type") == "object":
        inner = rule.get("additionalProperties")
        return f"mapping of {_type(inner)}s" if isinstance(inner, Mapping) else "mapping"
    return kinds.get(str(rule.get("type")), "value")


# -- later -------------------------------------------------------------------------------------


def _not_yet() -> str:
    text = ""
    for title, table in (("Service key", later.SERVICE), ("Gateway key", later.GATEWAY)):
        text += f"| {title} | will take | belongs to |\n|---|---|---|\n"
        text += "".join(f"| `{name}` | {one.type} | {one.feature} |\n" for name, one in table.items()) + "\n"
    for title, features in (("Engine", later.ENGINES), ("Variable", later.ENVIRONMENT)):
        text += f"| {title} | belongs to |\n|---|---|\n"
        text += "".join(f"| `{name}` | {feature} |\n" for name, feature in features.items()) + "\n"
    return text


def main(arguments: list[str]) -> int:
    """Write or check; the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    text = render()
    if not arguments:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.name} is stale; run: python scripts/make_config_reference.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
