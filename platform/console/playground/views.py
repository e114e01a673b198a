"""The page: GET reads the question out of its address and answers it, POST makes the address of what was typed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from django_htmx.middleware import HtmxDetails

from catalog.models import Service
from console.base import page, service_for
from console.connecting import endpoint_of
from console.playground import asking, fields
from console.playground.answers import overlap
from console.playground.asking import Side, Table
from console.playground.fields import FEATURE, MERGES, Read, Typed
from console.snippets import Snippet, snippets_of
from engines import registry
from tenants.models import Tenant
from tenants.permissions import Caller, Permission, is_allowed
from versions.models import Version
from versions.selectors import askable_versions

RANDOM_DIGITS = 3
TABS = {"vector": "Vector", "items": "Items", "features": "Features"}


@dataclass(frozen=True)
class Turn:
    """One look at the page: who asks, which service, what was typed, and the version that it is read for."""

    request: HttpRequest
    caller: Caller
    tenant: Tenant
    service: Service
    versions: list[Version]
    said: Typed
    version: Version | None

    @property
    def schema(self) -> Mapping[str, Any]:
        schema: Mapping[str, Any] = (self.version or self.service).spec["schema"]
        return schema

    @property
    def address(self) -> str:
        query = self.said.address()
        path = reverse("console:playground", args=(self.tenant.name, self.service.name))
        return f"{path}?{query}" if query else path


@require_http_methods(["GET", "POST"])
@never_cache
@page
def show(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.QUERY)
    said = fields.typed((request.POST if request.method == "POST" else request.GET).dict())
    versions = askable_versions(found)
    version = asking.version_asked(found, versions, said.version("on"))
    turn = Turn(request, caller, owner, found, versions, said, version)
    if "random" in request.GET and version is not None:
        turn = replace(turn, said=said.changed(by="vector", vector=_random_vector(turn.schema["dimension"])))
    is_new = request.method == "POST" or turn.said is not said
    if is_new and turn.said.is_asked and turn.said.is_shareable() and not _is_part(request):
        return redirect(turn.address)
    return _answered(turn)


def _answered(turn: Turn) -> HttpResponse:
    """The whole page, or what htmx puts into it, with the address of the question if it has one."""
    is_part = _is_part(turn.request)
    template = "console/playground/_playground.html" if is_part else "console/playground/page.html"
    response = render(turn.request, template, _context(turn))
    if is_part:
        response["HX-Push-Url"] = turn.address if turn.said.is_shareable() else "false"
    return response


def _is_part(request: HttpRequest) -> bool:
    """Whether htmx asks for what it puts into the page that is there."""
    htmx = cast(HtmxDetails, request.htmx)  # type: ignore[attr-defined]
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def _context(turn: Turn) -> dict[str, Any]:
    said = turn.said
    question = fields.read(said, turn.schema)
    is_asked = bool(turn.versions) and (said.is_asked or turn.request.method == "POST")
    context: dict[str, Any] = {
        "tenant": turn.tenant,
        "service": turn.service,
        "said": said.values,
        "by": said.by,
        "tabs": _tabs(turn),
        "merges": MERGES,
        "inputs": _inputs(turn),
        **_choices(turn),
        "random": said.address(by="vector", vector=""),
        "schema": turn.schema,
        "effort": _effort(turn.version),
        "limits": turn.service.spec["limits"],
        "like": said.address(by="items", items="", check=""),
        "is_shareable": said.is_shareable(),
        "faults": question.faults if is_asked else {},
        "may_manage": is_allowed(turn.caller, Permission.MANAGE, turn.tenant),
    }
    return {**context, **_tables(turn, question)} if is_asked and not question.faults else context


def _tables(turn: Turn, read: Read) -> dict[str, Any]:
    sides = _sides(turn, read)
    schema, top_k = turn.schema, read.question.top_k
    order = asking.order_of(schema["metric"], read.question.merge)
    pictures = _pictures(turn.service)
    tables = [
        asking.table_of(side, other, order=order, top_k=top_k, pictures=pictures, host=turn.request.get_host())
        for side, other in zip(sides, [*sides[1:], sides[0] if len(sides) > 1 else None], strict=True)
    ]
    faults, errors = _faults(turn, tables)
    return {
        "tables": tables,
        "faults": faults,
        "errors": errors,
        "metric": schema["metric"],
        "overlap": _overlap(sides),
        "snippets": _snippets(turn, read),
        "top_k": top_k,
    }


def _sides(turn: Turn, read: Read) -> list[Side]:
    """Each version that is asked, first the one of `on`."""
    said = turn.said
    numbers = [said.version("on")]
    if said.values["beside"]:
        numbers.append(said.version("beside"))
    sides = []
    for number in numbers:
        version = asking.version_asked(turn.service, turn.versions, number)
        spec = (version or turn.service).spec
        sides.append(
            asking.ask(
                caller=turn.caller,
                service=turn.service,
                question=replace(read.question, require_version=number),
                attributes=tuple(each["name"] for each in spec["schema"]["attributes"]),
                check=bool(said.values["check"]),
            )
        )
    return sides


def _faults(turn: Turn, tables: list[Table]) -> tuple[dict[str, str], list[Any]]:
    """What the gateway said beside the fields that it names, of the first version; and what is of no field."""
    faults: dict[str, str] = {}
    others = []
    for table in tables[:1]:
        for error in filter(None, (table.side.error, table.side.exact_error)):
            name = asking.field_of(error, turn.said.by)
            if name in ("features", *fields.NAMES, *_inputs_names(turn)):
                faults.setdefault(name, error.message)
            else:
                others.append(error)
    return faults, others


def _tabs(turn: Turn) -> list[dict[str, Any]]:
    """The ways to ask; what is typed in common fields goes along."""
    has_model = bool(turn.schema.get("query_model"))
    return [
        {"name": name, "label": label, "address": turn.said.address(by=name)}
        for name, label in TABS.items()
        if name != "features" or has_model or turn.said.by == name
    ]


def _choices(turn: Turn) -> dict[str, Any]:
    """The versions that can be asked; `strange`: which fields name another one, as an old address may."""
    choices = asking.choices_of(turn.service, turn.versions)
    known = {"", *(choice.value for choice in choices)}
    return {"choices": choices, "strange": {name: turn.said.values[name] not in known for name in ("on", "beside")}}


def _inputs(turn: Turn) -> list[dict[str, Any]]:
    """The features that the version's query model takes, each as a field with its type."""
    inputs = (turn.schema.get("query_model") or {}).get("inputs", ())
    return [
        {
            **each,
            "field": FEATURE + each["name"],
            "element": f"feature-{number}",
            "typed": turn.said.values.get(FEATURE + each["name"], ""),
        }
        for number, each in enumerate(inputs)
    ]


def _inputs_names(turn: Turn) -> list[str]:
    return [each["field"] for each in _inputs(turn)]


def _effort(version: Version | None) -> dict[str, Any] | None:
    """What the version's engine calls its effort, and what its build chose; None when there is nothing to choose."""
    if version is None:
        return None
    effort = registry.describe(version.engine).effort
    return None if effort is None else {"name": effort.name, "chosen": version.search_params.get(effort.name)}


def _pictures(service: Service) -> frozenset[str]:
    """By the spec of today, so that a picture can be declared without a build."""
    attributes = service.spec["schema"]["attributes"]
    return frozenset(each["name"] for each in attributes if each.get("display") == "image")


def _overlap(sides: list[Side]) -> float | None:
    if len(sides) < 2 or sides[0].answer is None or sides[1].answer is None:
        return None
    return overlap(sides[0].answer, sides[1].answer)


def _snippets(turn: Turn, read: Read) -> list[Snippet]:
    return snippets_of(read.question, endpoint_of(turn.request, turn.service, turn.schema))


def _random_vector(dimension: int) -> str:
    """Of length 1 in any direction: a first question for somebody who has none at hand."""
    drawn = [secrets.SystemRandom().gauss(0, 1) for _ in range(dimension)]
    length = sum(number**2 for number in drawn) ** 0.5 or 1.0
    return ",".join(f"{number / length:.{RANDOM_DIGITS}f}" for number in drawn)
