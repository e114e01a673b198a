"""Holds every answer that a test gets to what the API says of itself."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator

# What the framework answers before any operation is reached.
NOT_OF_AN_OPERATION = {405, 406, 415}


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, with every object closed, so that an answer cannot hold what is not described."""
    described = SchemaGenerator().get_schema(public=True)
    closed = _closed(described)
    assert isinstance(closed, dict)
    return closed


def check_is_described(method: str, path: str, status: int, body: Any) -> None:
    """Fails when the answer has a status or a shape that the description does not have."""
    operation = _operation(method, path)
    if operation is None or status in NOT_OF_AN_OPERATION:
        return
    assert str(status) in operation["responses"], f"{method} {path} answered {status}, which is not described"
    content = operation["responses"][str(status)].get("content")
    if content is None:
        assert body in (None, b"", ""), f"{method} {path} is described without a body"
        return
    schema = {**content["application/json"]["schema"], "components": document()["components"]}
    faults = [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(schema).iter_errors(body)]
    assert faults == [], f"{method} {path} answered {status} with {body}"


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in document()["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", r"[^/:]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            found: dict[str, Any] = operations[method.lower()]
            return found
    return None


def _closed(value: Any) -> Any:
    if isinstance(value, list):
        return [_closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    closed = {name: _closed(each) for name, each in value.items()}
    is_object = closed.get("type") == "object" and isinstance(closed.get("properties"), dict)
    return {"additionalProperties": False, **closed} if is_object else closed
