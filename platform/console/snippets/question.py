"""A question to a service, in no language yet; and as the proto JSON that REST, grpcurl and our own gateway take.

What is right or wrong about a question is not known here: the gateway says that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

MERGE_DEFAULT = "MAX"
# Type of a declared feature -> the field of the proto's Feature that carries it.
KINDS = {"int64": "ints", "bool": "ints", "float32": "floats", "string": "strings"}

Value = int | float | str | bool


class Item(NamedTuple):
    """`weight` of None: none is said, which counts as 1."""

    id: int | str
    weight: float | None = None


class Feature(NamedTuple):
    """One input of the query model: `type` as the schema declares it; a list, even of one value, or one value."""

    name: str
    type: str
    values: tuple[Value, ...]
    is_list: bool = False


@dataclass(frozen=True)
class Question:
    """Asks by one of `vectors`, `items`, `features`. `ef` of None: the effort that the version's build has chosen.

    `merge`: MAX, WEIGHTED_SUM or ROUND_ROBIN, of several vectors. `require_version` of 0: whatever is live.
    """

    vectors: tuple[tuple[float, ...], ...] = ()
    items: tuple[Item, ...] = ()
    features: tuple[Feature, ...] = ()
    merge: str = MERGE_DEFAULT
    keep_query_items: bool = False
    top_k: int = 10
    filter: str = ""
    ef: int | None = None
    exact: bool = False
    require_version: int = 0
    attributes: tuple[str, ...] = ()
    trace: bool = False


@dataclass(frozen=True)
class Endpoint:
    """Where it is asked. `gateway` is host:port, `api_url` ends in /api/v1. `has_text_ids`: the ids there are texts."""

    tenant: str
    service: str
    gateway: str
    api_url: str
    has_text_ids: bool = False

    @property
    def short_name(self) -> str:
        """As the Python client and the CLI name the service."""
        return f"{self.tenant}/{self.service}"

    @property
    def full_name(self) -> str:
        """As requests name it."""
        return f"tenants/{self.tenant}/services/{self.service}"


def request_of(question: Question) -> dict[str, Any]:
    """RecallRequest as proto JSON, without the service; what has its default is left out."""
    request = {**_asked_by(question), "top_k": question.top_k, "filter": question.filter}
    request["merge"] = "" if question.merge == MERGE_DEFAULT else question.merge
    request["params"] = _params(question)
    request["return_attributes"] = list(question.attributes)
    request["require_version"] = question.require_version
    request["trace"] = question.trace
    # top_k is always said: what stands in for it is nothing that the gateway would take.
    return {name: value for name, value in request.items() if value or name == "top_k"}


def _asked_by(question: Question) -> dict[str, Any]:
    if question.vectors:
        return {"vectors": {"vectors": [{"values": {"values": list(vector)}} for vector in question.vectors]}}
    if question.items:
        kept = {"keep_query_items": True} if question.keep_query_items else {}
        return {"items": {"items": [_item(item) for item in question.items], **kept}}
    if question.features:
        return {"features": {"features": {feature.name: _feature(feature) for feature in question.features}}}
    return {}


def _item(item: Item) -> dict[str, Any]:
    key: dict[str, Any] = {"text_id": item.id} if isinstance(item.id, str) else {"id": item.id}
    return key if item.weight is None else {**key, "weight": item.weight}


def _feature(feature: Feature) -> dict[str, Any]:
    values = [int(value) if isinstance(value, bool) else value for value in feature.values]
    return {KINDS[feature.type]: {"values": values}}


def _params(question: Question) -> dict[str, Any]:
    effort = {} if question.ef is None else {"ef": question.ef}
    return {**effort, "exact": True} if question.exact else effort
