"""How large a filter may be."""

from __future__ import annotations

from replicas.errors import InvalidQuery

FIELD = "filter"

BYTES_MAX = 8_192
# Parentheses and `not`, one inside the other.
NESTING_MAX = 50
# Each costs a pass over a column.
TESTS_MAX = 64
# Of one list.
LITERALS_MAX = 1_000


class FilterInvalid(InvalidQuery):
    """The filter's text is wrong; the message says where, counting characters from 1."""

    def __init__(self, reason: str, message: str, *, at: int | None = None) -> None:
        place = "" if at is None else f"character {at + 1}: "
        super().__init__(FIELD, reason, f"{place}{message}")


def check_length(text: str) -> None:
    """Raises FilterInvalid."""
    size = len(text.encode())
    if size > BYTES_MAX:
        message = f"the filter has {size} bytes; at most {BYTES_MAX} may be. Exclude items by id with `exclude`"
        raise FilterInvalid("FILTER_TOO_LONG", message)
