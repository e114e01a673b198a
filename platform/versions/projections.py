"""The projection of a version's items as pages show it, and where neighbours lie on it. Reads only.

It was drawn by the build (`workers.children.projecting` says how); a version that was built before there were any has
none, and the next one has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from catalog.models import Service
from common.errors import InvalidArgument
from tenants.permissions import Caller
from versions.models import Projection, Version
from versions.queries import recall
from versions.queries.answers import rows_of
from versions.selectors import askable_versions, is_loaded

NEIGHBOURS = 10
ID_CHARACTERS_MAX = 1_000
INT64_DIGITS_MAX = 19


def projection_of(version: Version) -> Projection | None:
    return Projection.objects.of(version.service.tenant).filter(version=version).first()


def sample_rows(projection: Projection, most: int) -> list[dict[str, Any]]:
    """The first items of the sample as rows of a table: {"id", "attributes"}."""
    columns = [column["values"] for column in projection.sample["attributes"]]
    ids: list[str] = projection.sample["ids"]
    return [
        {"id": item, "attributes": [column[place] for column in columns]}
        for place, item in enumerate(islice(ids, most))
    ]


def can_be_asked(version: Version) -> bool:
    """Whether the gateway answers for this very version."""
    return is_loaded(version) and version.pk in {askable.pk for askable in askable_versions(version.service)}


def neighbours(*, caller: Caller, service: Service, version: Version, item: str) -> dict[str, Any]:
    """The nearest items to an item of this very version, each with its place on the projection, if there is one.

    {"rows": [{"rank", "id", "score", "attributes", "place": [x, y] or None}], "attributes": their names, "replica"}.
    The caller's permission to query was checked before. Raises InvalidArgument for an id that cannot be one,
    FailedPrecondition when the version is not loaded, and what `recall` raises.
    """
    schema, projection = version.spec["schema"], projection_of(version)
    attributes = [attribute["name"] for attribute in schema["attributes"]]
    request = {
        "items": {"items": [_key(schema, item)], "on_missing": "FAIL"},
        "top_k": min(NEIGHBOURS, service.spec["limits"]["max_top_k"]),
        "return_attributes": attributes,
        "return_vectors": projection is not None,
        "require_version": version.number,
    }
    answer = recall(caller=caller, service=service, request=request)
    rows, places = rows_of(answer), _places(projection, answer)
    found = [{**row, "place": place} for row, place in zip(rows, places, strict=True)]
    return {"rows": found, "attributes": attributes, "replica": answer["replica"]}


def place_of(plane: Mapping[str, Any], vector: Sequence[float]) -> list[float]:
    """Where a vector of the version lies on the plane of its projection."""
    offset = [number - middle for number, middle in zip(vector, plane["mean"], strict=True)]
    return [sum(a * b for a, b in zip(axis, offset, strict=True)) / plane["reach"] for axis in plane["axes"]]


def _places(projection: Projection | None, answer: Mapping[str, Any]) -> list[list[float] | None]:
    if projection is None:
        return [None] * len(answer["scores"])
    return [place_of(projection.plane, vector["values"]["values"]) for vector in answer["vectors"]]


def _key(schema: Mapping[str, Any], item: str) -> dict[str, Any]:
    """The item as a query names it."""
    if not item or len(item) > ID_CHARACTERS_MAX:
        raise InvalidArgument("Say which item, by its id.", field="item", reason="ID_INVALID")
    if schema["id_type"] == "string":
        return {"text_id": item}
    digits = item.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= INT64_DIGITS_MAX):
        raise InvalidArgument("Ids of this service are whole numbers.", field="item", reason="ID_INVALID")
    return {"id": item}
