"""Items by id: which rows they are, what is known of them, which are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from replicas.attributes import columns_of
from replicas.checks import QueryLimits, check_attribute_names, check_id_type
from replicas.errors import InvalidQuery
from replicas.loaded import LoadedVersion
from replicas.queries import Column, Floats

ITEMS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Items:
    """The found items in the order asked for, their columns, and the ids that the version does not hold."""

    ids: list[Any]
    columns: list[Column]
    vectors: Floats | None
    missing: list[Any]


def get_items(
    loaded: LoadedVersion,
    *,
    ids: Sequence[int],
    text_ids: Sequence[str],
    return_attributes: list[str],
    return_vectors: bool,
    limits: QueryLimits,
) -> Items:
    """Raises InvalidQuery for too many ids, ids of the wrong type, or an unknown attribute."""
    schema = loaded.schema
    check_id_type("items", has_ids=bool(ids), has_text_ids=bool(text_ids), schema=schema)
    check_attribute_names(return_attributes, schema, limits)
    asked: Sequence[Any] = text_ids if schema.text_ids else ids
    if not 1 <= len(asked) <= ITEMS_MAX:
        raise InvalidQuery("items", "ITEM_COUNT_OUT_OF_RANGE", f"{len(asked)} ids; there must be 1 to {ITEMS_MAX}")
    rows = loaded.rows_of(asked)
    found = rows[rows >= 0]
    return Items(
        ids=[key for key, row in zip(asked, rows, strict=True) if row >= 0],
        columns=columns_of(loaded, return_attributes, found),
        vectors=loaded.vectors[found] if return_vectors else None,
        missing=[key for key, row in zip(asked, rows, strict=True) if row < 0],
    )
