"""The query box: one query through the gateway, as any caller would ask it."""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from catalog.models import Service
from common.checks import whole_number
from common.errors import InvalidArgument
from console.base import page, service_for
from console.playground.fields import Wrong, vectors_of
from tenants.permissions import Caller, Permission
from versions.queries import items_get, recall
from versions.queries.answers import rows_of

TOP_K_DEFAULT = 10
# The gateway judges what the service allows.
TOP_K_MAX = 99_999
INT64 = re.compile(r"-?[0-9]{1,19}")


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
    message = "Type an item's id, or a vector as numbers with commas between them."
    try:
        vectors = vectors_of(text.strip())
    except Wrong as wrong:
        raise InvalidArgument(f"{message} {wrong}", field="vector", reason="VECTOR_INVALID") from wrong
    if len(vectors) != 1:
        raise InvalidArgument(f"{message} Of one vector.", field="vector", reason="VECTOR_INVALID")
    return list(vectors[0])


def _vector_of_item(item: str, caller: Caller, service: Service) -> list[float]:
    key = item_of(service, item)
    answer = items_get(caller=caller, service=service, request={"items": key, "return_vectors": True})
    if not answer["vectors"]:
        raise InvalidArgument(f"The live version holds no item {item}.", field="item", reason="ITEM_NOT_FOUND")
    vector: list[float] = answer["vectors"][0]["values"]["values"]
    return vector


def item_of(service: Service, item: str) -> dict[str, list[str]]:
    """The item as the gateway is asked for it. Raises InvalidArgument for what cannot be its id."""
    if service.spec["schema"]["id_type"] == "string":
        return {"text_ids": [item]}
    if not INT64.fullmatch(item):
        raise InvalidArgument("Ids of this service are whole numbers.", field="item", reason="ID_INVALID")
    return {"ids": [item]}


def _top_k(request: HttpRequest) -> int:
    top_k = whole_number(request.POST.get("top_k", ""), most=TOP_K_MAX)
    return TOP_K_DEFAULT if top_k is None else top_k
