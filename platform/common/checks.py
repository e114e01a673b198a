"""Checks of input that every layer needs."""

from __future__ import annotations

import unicodedata

from common.errors import InvalidArgument

REASON_CHARACTERS_MAX = 500
# Line breaks may stand in a reason; other control characters could forge a log line, and PostgreSQL refuses NUL.
_ALLOWED_CONTROLS = frozenset("\n\t")


def check_text(value: object, *, field: str, characters_max: int, required: bool = False) -> str:
    """`value` as a text for people, stripped. Raises InvalidArgument naming `field`."""
    if not isinstance(value, str):
        raise InvalidArgument(f"The {field} must be a text.", field=field)
    text = value.strip().replace("\r\n", "\n")
    if required and not text:
        raise InvalidArgument(f"The {field} must not be empty.", field=field)
    if len(text) > characters_max:
        raise InvalidArgument(
            f"The {field} may have at most {characters_max} characters, not {len(text)}.", field=field
        )
    # Cc are controls; Cs are halves of surrogate pairs, which are no text in any encoding.
    if any(unicodedata.category(each) in ("Cc", "Cs") and each not in _ALLOWED_CONTROLS for each in text):
        raise InvalidArgument(f"The {field} must not contain control characters.", field=field)
    return text


def whole_number(text: str, *, most: int) -> int | None:
    """The number from 0 to `most` that `text` writes in ASCII digits, without a sign; None when it is none."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    return int(text) if is_number and int(text) <= most else None


def check_reason(value: object, *, required: bool = False) -> str:
    """A reason that somebody gives for what they do, for the audit trail."""
    return check_text(value, field="reason", characters_max=REASON_CHARACTERS_MAX, required=required)
