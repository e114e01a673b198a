"""How the API describes itself: one decorator for every operation, so that none forgets its errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import Direction, OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from api.pagination import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from api.serializers.errors import ErrorBody

MethodT = TypeVar("MethodT", bound=Callable[..., Any])

# What any operation may answer, and what only some do.
ERRORS_ALWAYS = {
    400: "INVALID_ARGUMENT: the input can never be right; or FAILED_PRECONDITION: right call, wrong moment.",
    401: "UNAUTHENTICATED: no key or session, or one that is unknown, expired or revoked.",
    500: "INTERNAL: our fault; the details name the request id.",
    503: "UNAVAILABLE: a part that this needs is away; try again.",
}
ERRORS_SOMETIMES = {
    403: "PERMISSION_DENIED: the role or the key's scope does not allow it.",
    404: "NOT_FOUND: unknown, or not yours; nobody can tell which.",
    409: "ABORTED: the state moved meanwhile; or ALREADY_EXISTS: the name is taken.",
    413: "INVALID_ARGUMENT: the body is too large.",
    429: "RESOURCE_EXHAUSTED: a quota or a rate limit.",
    504: "DEADLINE_EXCEEDED: no answer in time.",
}

PAGING = (
    OpenApiParameter("page_size", int, description=f"1 to {PAGE_SIZE_MAX}; {PAGE_SIZE_DEFAULT} when absent."),
    OpenApiParameter("page_token", str, description="`next_page_token` of the page before."),
)


def operation(
    name: str,
    summary: str,
    *,
    tag: str,
    request: Any = None,
    response: Any = None,
    status: int = 200,
    errors: Sequence[int] = (),
    parameters: Sequence[OpenApiParameter] = (),
    examples: Sequence[OpenApiExample] = (),
    public: bool = False,
) -> Callable[[MethodT], MethodT]:
    """Describes one method of a view; `errors` are those beyond what any operation may answer."""
    always = {code: text for code, text in ERRORS_ALWAYS.items() if not (public and code in (400, 401))}
    of_body = (413,) if request is not None else ()
    texts = always | {code: ERRORS_SOMETIMES[code] for code in (*errors, *of_body)}
    responses: dict[int, OpenApiResponse] = {status: OpenApiResponse(response, description=summary)}
    responses |= {code: OpenApiResponse(ErrorBody, description=text) for code, text in sorted(texts.items())}
    described: Callable[[MethodT], MethodT] = extend_schema(
        operation_id=name,
        summary=summary,
        # Else the docstring of a view's base class would stand here.
        description=f"{summary}.",
        tags=[tag],
        request=request,
        responses=responses,
        parameters=list(parameters),
        examples=list(examples),
        auth=[] if public else None,
    )
    return described


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "api.authentication.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, `rk_...`."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "api.authentication.ConsoleSession"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "recall_session",
            "description": "The console's session; writes also need the header X-CSRFToken.",
        }


class SpecScheme(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """A service's spec as users write it: what has a default may be left out."""

    target_class = "catalog.spec.ServiceSpec"
    priority = 1

    def get_name(self, auto_schema: AutoSchema, direction: Direction) -> str:
        return "ServiceSpec"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        reference = "#/components/schemas/Spec{model}"
        schema: dict[str, Any] = self.target.model_json_schema(mode="validation", ref_template=reference)
        for name, block in schema.pop("$defs", {}).items():
            named = f"Spec{name}"
            component = ResolvedComponent(  # type: ignore[no-untyped-call]
                name=named, type=ResolvedComponent.SCHEMA, object=named, schema=block
            )
            auto_schema.registry.register_on_missing(component)
        return schema
