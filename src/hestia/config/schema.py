"""JSON Schema of the configuration file, for editors (`hestia config schema`). Made from `models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hestia.config.ids import ID
from hestia.config.instances import InstanceKeys
from hestia.config.models import BackoffKeys, GatewayKeys, ServiceKeys, kind_of
from hestia.config.rules import Nested, plain
from hestia.config.values import Duration, Many, Schema, duration_text

_SECRET: Schema = {
    "type": "object",
    "description": "A secret: {env: NAME} reads a variable, {file: PATH} a file.",
    "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}


def json_schema(
    engines: Mapping[str, type[BaseModel]], strategies: Mapping[str, type[BaseModel]] = {}
) -> Schema:
    """The schema of a file that uses these engines and strategies: name → model of the options."""
    service = _mapping(ServiceKeys)
    service["properties"]["engine"] = _engine(engines)
    service["properties"]["instances"]["anyOf"][0]["items"] = _item(engines)
    service["properties"]["routing"] = _routing(strategies)
    service["properties"]["restart_backoff"] = {
        **_mapping(BackoffKeys),
        "description": ServiceKeys.model_fields["restart_backoff"].description,
    }
    top = _mapping(GatewayKeys)
    top["properties"]["services"] = {
        "description": "The services by id; the id is the name in /services/<id>/.",
        "type": ["object", "null"],
        "propertyNames": {"pattern": f"^{ID.pattern}$"},
        "additionalProperties": {"anyOf": [{"$ref": "#/$defs/service"}, {"type": "null"}]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hestia configuration",
        **top,
        "$defs": {"service": service, "secret": _SECRET},
    }


def _mapping(model: type[BaseModel]) -> Schema:
    """One model with all spellings of its keys; two forms of one key exclude each other."""
    properties: Schema = {}
    twice: list[Schema] = []
    for name, field in model.model_fields.items():
        kind = kind_of(field)
        if kind is None:
            continue
        about = _about(field)
        written = kind.schema()
        if isinstance(kind, Nested):
            inner = written["items"] if kind.many else written
            inner = _inline(inner, inner.pop("$defs", {}))
            shape: Schema = {"type": "array", "items": inner} if kind.many else inner
            properties[name] = {**({"anyOf": [{"type": "boolean"}, shape]} if kind.flag else shape), **about}
            continue
        if isinstance(kind, Many):
            written["items"] = {"anyOf": [written["items"], {"$ref": "#/$defs/secret"}]}
        properties[name] = {"anyOf": [written, {"$ref": "#/$defs/secret"}], **about}
        if isinstance(kind, Duration):
            for suffix, unit in (("_ms", "milliseconds"), ("_seconds", "seconds")):
                number: Schema = {"type": "number", "minimum": 0}
                either = [number, {"const": "never"}] if kind.endless else [number]
                properties[name + suffix] = {"anyOf": either, "description": f"`{name}` in {unit}."}
            forms = (name, f"{name}_ms", f"{name}_seconds")
            twice += [{"required": [one, other]} for one in forms for other in forms if one < other]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **({"not": {"anyOf": twice}} if twice else {}),
    }


def _about(field: FieldInfo) -> Schema:
    extra: Any = field.json_schema_extra  # Any: pydantic types it wider than we write it
    about: Schema = {"description": f"{field.description} Since {extra['since']}."}
    default = plain(field.default)
    if isinstance(kind_of(field), Duration) and isinstance(default, int | float):
        default = duration_text(default)
    if default not in (None, "", ()):
        about["default"] = list(default) if isinstance(default, tuple) else default
    if field.examples:
        about["examples"] = field.examples
    return about


def _item(engines: Mapping[str, type[BaseModel]]) -> Schema:
    """One of `instances`."""
    item = _mapping(InstanceKeys)
    item["properties"]["engine"] = _engine(engines)
    return item


def _routing(strategies: Mapping[str, type[BaseModel]]) -> Schema:
    """The options of whichever strategy it is; the key beside it says which."""
    alternatives = []
    for model in strategies.values():
        options = model.model_json_schema()
        options.pop("title", None)
        alternatives.append(_inline(options, options.pop("$defs", {})))
    about: Schema = {"description": ServiceKeys.model_fields["routing"].description}
    return {**about, **({"anyOf": alternatives} if alternatives else {"type": "object"})}


def _engine(engines: Mapping[str, type[BaseModel]]) -> Schema:
    """One alternative per engine, told apart by `type`."""
    alternatives = []
    for name, model in engines.items():
        options = model.model_json_schema()
        options["properties"] = {"type": {"const": name}, **options.get("properties", {})}
        options["required"] = ["type", *options.get("required", [])]
        options.pop("title", None)
        alternatives.append(_inline(options, options.pop("$defs", {})))
    return {"description": ServiceKeys.model_fields["engine"].description, "oneOf": alternatives}


def _inline(value: Any, defs: Mapping[str, Any]) -> Any:  # Any: a JSON Schema nests freely
    """The schema with its local references written out, and a secret allowed where a text is."""
    if isinstance(value, list):
        return [_inline(one, defs) for one in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inline(defs[str(value["$ref"]).rpartition("/")[2]], defs)
    inlined = {key: _inline(one, defs) for key, one in value.items()}
    if inlined.get("type") == "string" and "const" not in inlined:
        about = {
            key: inlined.pop(key) for key in ("description", "default", "examples", "title") if key in inlined
        }
        return {"anyOf": [inlined, {"$ref": "#/$defs/secret"}], **about}
    return inlined
