"""Lists in pages: `page_size`, `page_token`, `next_page_token` (AIP-158), by the key of the last row seen.

A token names a place and not an offset, so rows that come or go between two pages shift nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from common.errors import InvalidArgument

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 100
PAGE_TOKEN_CHARACTERS_MAX = 300

RowT = TypeVar("RowT", bound=Model)


@dataclass(frozen=True)
class Order:
    """The column that a list runs along. It must be unique within the list, and of this type."""

    column: str
    type: type[str] | type[int]
    newest_first: bool = False

    def apply(self, rows: QuerySet[RowT], after: str | int | None) -> QuerySet[RowT]:
        if after is not None:
            rows = rows.filter(**{f"{self.column}__{'lt' if self.newest_first else 'gt'}": after})
        return rows.order_by(f"-{self.column}" if self.newest_first else self.column)

    def value_of(self, row: Model) -> str | int:
        value: Any = row
        for part in self.column.split("__"):
            value = getattr(value, part)
        return self.type(value)


BY_NAME = Order("name", str)
NEWEST_NUMBER_FIRST = Order("number", int, newest_first=True)
NEWEST_ROW_FIRST = Order("id", int, newest_first=True)


def paginate(
    request: Request, rows: QuerySet[RowT], *, order: Order, name: str, render: Callable[[RowT], Any]
) -> dict[str, Any]:
    """One page as `{name: [...], "next_page_token": ""}`; the token is empty on the last page.

    Raises InvalidArgument for a `page_size` or `page_token` that cannot be right.
    """
    return paginate_by(
        request, lambda after, limit: list(order.apply(rows, after)[:limit]), order=order, name=name, render=render
    )


def paginate_by(
    request: Request,
    fetch: Callable[[Any, int], list[RowT]],
    *,
    order: Order,
    name: str,
    render: Callable[[RowT], Any],
) -> dict[str, Any]:
    """The same over `fetch(after, limit)`, for lists that are not one query set."""
    size = _page_size(request.query_params.get("page_size", ""))
    after = _place(request.query_params.get("page_token", ""), order)
    # One more than asked for, which tells whether there is a next page without a count.
    found = fetch(after, size + 1)
    page = found[:size]
    token = _token(order.value_of(page[-1]), order) if len(found) > size else ""
    return {name: [render(row) for row in page], "next_page_token": token}


def shown_as(shape: type[Serializer[Any]]) -> Callable[[Model], Any]:
    """Renders a row by a serializer."""
    return lambda row: shape(row).data


def _page_size(raw: str) -> int:
    if not raw:
        return PAGE_SIZE_DEFAULT
    if not raw.isascii() or not raw.isdigit() or int(raw[:10]) < 1:
        raise InvalidArgument("Give a whole number of at least 1.", field="page_size")
    # Larger is served as the largest (AIP-158), so that a client needs not know our limit.
    return min(int(raw[:10]), PAGE_SIZE_MAX)


def _token(value: str | int, order: Order) -> str:
    return base64.urlsafe_b64encode(json.dumps([order.column, value]).encode()).decode().rstrip("=")


def _place(token: str, order: Order) -> str | int | None:
    if not token:
        return None
    refusal = InvalidArgument("This is not a page_token that this list gave out.", field="page_token")
    if len(token) > PAGE_TOKEN_CHARACTERS_MAX:
        raise refusal
    try:
        column, value = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, TypeError) as error:
        raise refusal from error
    if column != order.column or type(value) is not order.type:
        raise refusal
    # What no database takes.
    if (isinstance(value, int) and not 0 <= value < 2**63) or (isinstance(value, str) and "\x00" in value):
        raise refusal
    found: str | int = value
    return found
