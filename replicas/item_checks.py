"""What a query by items must satisfy before its ids are looked up. Every refusal names the field."""

from __future__ import annotations

import math
from typing import Final

from replicas.errors import InvalidQuery
from replicas.queries import ItemQuery, OnMissing, WeightedItem
from replicas.schema import VersionSchema

ITEMS_FIELD: Final = "items.items"


def check_item_query(asked: ItemQuery, schema: VersionSchema, *, items_max: int) -> None:
    """Raises InvalidQuery at the first thing that is wrong."""
    count = len(asked.items)
    if not 1 <= count <= items_max:
        message = f"{count} query items; there must be 1 to {items_max}"
        raise InvalidQuery(ITEMS_FIELD, "ITEM_COUNT_OUT_OF_RANGE", message)
    for number, item in enumerate(asked.items):
        _check_item(item, number, schema)
    if not 0 <= asked.half_life_seconds < math.inf:
        message = f"the half-life is {asked.half_life_seconds:g} seconds; it must be finite and at least 0"
        raise InvalidQuery("items.half_life_seconds", "HALF_LIFE_OUT_OF_RANGE", message)
    if not 0 <= asked.min_coverage <= 1:
        message = f"the least coverage is {asked.min_coverage:g}; it must be 0 to 1"
        raise InvalidQuery("items.min_coverage", "MIN_COVERAGE_OUT_OF_RANGE", message)
    if asked.min_coverage and asked.on_missing is not OnMissing.MIN_COVERAGE:
        # Who sets it wants to hear of too few items, and would not.
        message = f"it says nothing with `on_missing` {asked.on_missing.name}; set that to MIN_COVERAGE"
        raise InvalidQuery("items.min_coverage", "MIN_COVERAGE_IDLE", message)


def item_field(number: int, schema: VersionSchema) -> str:
    """The field that holds the id of a query's item, as the schema's id type says."""
    return f"{ITEMS_FIELD}[{number}].{'text_id' if schema.text_ids else 'id'}"


def _check_item(item: WeightedItem, number: int, schema: VersionSchema) -> None:
    if item.key is None:
        message = "the item has no id"
        raise InvalidQuery(item_field(number, schema), "ITEM_ID_MISSING", message)
    if isinstance(item.key, str) != schema.text_ids:
        given, used = ("text_id", "id") if isinstance(item.key, str) else ("id", "text_id")
        id_type = "string" if schema.text_ids else "int64"
        message = f"the schema's id type is {id_type}; use `{used}`"
        raise InvalidQuery(f"{ITEMS_FIELD}[{number}].{given}", "ID_TYPE_WRONG", message)
    if not math.isfinite(item.weight):
        raise InvalidQuery(f"{ITEMS_FIELD}[{number}].weight", "WEIGHT_NOT_FINITE", "a weight is NaN or infinite")
