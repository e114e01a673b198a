"""What every view and serializer of the API shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.views import APIView

from api.authentication import caller_of
from tenants.models import Tenant
from tenants.permissions import Caller, Permission, require
from tenants.selectors import tenant_get

InputT = TypeVar("InputT", bound=serializers.Serializer[Any])


class ObjectParser(JSONParser):
    """A JSON object and nothing else; that it is not larger than DATA_UPLOAD_MAX_MEMORY_SIZE, Django sees to."""

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        body: bytes = stream.read()
        try:
            parsed = json.loads(body, parse_constant=_refuse_constant)
            # Half of a surrogate pair is no text in any encoding: neither a database nor an answer could hold it.
            if b"\\ud" in body.lower():
                json.dumps(parsed, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is no valid JSON: {_cause(error)}") from error
        if not isinstance(parsed, dict):
            raise ParseError("The body must be a JSON object.")
        return parsed


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields it does not know, so that a misspelt one is not silently ignored."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, Mapping) else []
        if unknown:
            raise serializers.ValidationError({name: ["There is no such field."] for name in unknown})
        return super().to_internal_value(data)


class ApiView(APIView):
    """Base of all views: validate, one action or selector, render."""

    parser_classes = [ObjectParser]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        # Answers belong to one caller, and some show a key.
        answer["Cache-Control"] = "no-store"
        return answer

    @property
    def caller(self) -> Caller:
        return caller_of(self.request)

    def tenant(self, name: str, permission: Permission, service: str = "") -> Tenant:
        """The tenant, once the caller may do this there. Raises NotFound for foreign and unknown alike."""
        found = tenant_get(self.caller, name)
        require(self.caller, permission, found, service)
        return found

    @property
    def body(self) -> dict[str, Any]:
        """The body as it came: an object, because the parser takes nothing else; empty when there is none."""
        body = self.request.data
        return body if isinstance(body, dict) else {}

    def input(self, kind: type[InputT]) -> dict[str, Any]:
        """The validated body. Raises DRF's ValidationError, which names each field at fault."""
        serializer = kind(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        validated: dict[str, Any] = serializer.validated_data
        return validated


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _cause(error: Exception) -> str:
    """Python's words for plain syntax errors; of the others, words for people."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
