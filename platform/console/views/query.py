"""The query box: one query through the gateway, as any caller would ask it."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from catalog.models import Service
from common.checks import whole_number
from common.errors import InvalidArgument
from console.base import page, service_for
from tenants.permissions import Caller, Permission
from versions.queries import items_get, recall
from versions.queries.answers import rows_of

TOP_K_DEFAULT = 10
# The gateway judges what the service allows.
TOP_K_MAX = 99_999
VECTOR_TEXT_CHARACTERS_MAX = 200_000


@require_POST
@page
def query(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.QUERY)
    vector = _vector(request, caller, found)
    attributes = [attribute["name"] for attribute in found.spec["schema"]["attributes"]]
    answer = recall(
        caller=caller,
        service=found,
        request={
            "vectors": [vector],
            "top_k": _top_k(request),
            "filter": request.POST.get("filter", "").strip(),
            "return_attributes": attributes,
            "trace": True,
        },
    )
    context = {"tenant": owner, "service": found, "answer": answer, "rows": rows_of(answer), "attributes": attributes}
    return render(request, "console/_answer.html", context)


def _vector(request: HttpRequest, caller: Caller, service: Service) -> list[float]:
    """The vector as typed, or the vector of the item whose id was typed."""
    item = request.POST.get("item", "").strip()
    return _vector_of_item(item, caller, service) if item else _typed_vector(request.POST.get("vector", ""))


def _typed_vector(text: str) -> list[float]:
    try:
        vector = json.loads(f"[{text.strip().strip('[]')}]") if len(text) <= VECTOR_TEXT_CHARACTERS_MAX else None
    except ValueError:
        vector = None
    if not vector or not all(isinstance(number, int | float) for number in vector):
        message = "Type an item's id, or a vector as numbers with commas between them."
        raise InvalidArgument(message, field="vector", reason="VECTOR_INVALID")
    return [float(number) for number in vector]


def _vector_of_item(item: str, caller: Caller, service: Service) -> list[float]:
    is_text = service.spec["schema"]["id_type"] == "string"
    if not is_text and not item.lstrip("-").isdigit():
        raise InvalidArgument("Ids of this service are whole numbers.", field="item", reason="ID_INVALID")
    items = {"text_ids": [item]} if is_text else {"ids": [item]}
    answer = items_get(caller=caller, service=service, request={"items": items, "return_vectors": True})
    if not answer["vectors"]:
        raise InvalidArgument(f"The live version holds no item {item}.", field="item", reason="ITEM_NOT_FOUND")
    vector: list[float] = answer["vectors"][0]["values"]["values"]
    return vector


def _top_k(request: HttpRequest) -> int:
    top_k = whole_number(request.POST.get("top_k", ""), most=TOP_K_MAX)
    return TOP_K_DEFAULT if top_k is None else top_k
