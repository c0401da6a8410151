"""Pieces of the OpenAPI document that FastAPI cannot derive: problems, repeated status answers.

Owns `finish`, which makes the generated document true: no 422, problems under their own media type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hestia.api import models

NO_STORE: Final = {"cache-control": "no-store"}
PROBLEM_TYPE: Final = "application/problem+json"
OpenApi = dict[str, Any]  # a JSON document whose shape is OpenAPI's own, hence Any

_PROBLEMS: Final[Mapping[int, str]] = {
    400: "A value in the request cannot be used.",
    403: "The request is refused: a page of another site may not start a cold service.",
    404: "No such service, instance or path.",
    405: "The path does not take this method.",
    413: "The body is too large.",
    414: "The path is too long.",
    431: "The header fields are too large or too many.",
    502: "The service could not be reached, or its answer cannot be used.",
    503: "It could not be done now; the problem says why, and `Retry-After` when to ask again.",
    504: "The service did not answer in time.",
    508: "The service is this gateway itself.",
}


def problem_responses(*statuses: int) -> dict[int | str, OpenApi]:
    """Entries for FastAPI's `responses` that name problem documents."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _PROBLEMS[status], "content": {PROBLEM_TYPE: {"schema": schema}}}
        for status in statuses
    }


def status_responses(texts: Mapping[int, str]) -> dict[int | str, OpenApi]:
    """Entries for further answers that carry the status document."""
    return {status: {"model": models.ServiceStatus, "description": text} for status, text in texts.items()}


def finish(document: OpenApi) -> OpenApi:
    """Correct FastAPI's document in place and return it.

    FastAPI adds a 422 to every call with parameters; ours are 400 problems. It does not know Problem,
    which no route names as its model.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = models.Problem.model_json_schema()
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document
