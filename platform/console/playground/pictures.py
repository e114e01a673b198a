"""Values of attributes that are declared images: shown where the page's policy allows, else as a link, else as text."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

DATA = re.compile(r"data:image/[a-z0-9.+-]+[;,]", re.IGNORECASE)
ADDRESS_CHARACTERS_MAX = 200_000
LINK_CHARACTERS_MAX = 2_000
LINK_SCHEMES = ("http", "https")


class Cell(NamedTuple):
    """A value of a table. `picture`: an address that the page may load; `link`: one that people may follow."""

    text: Any
    picture: str = ""
    link: str = ""


def cell_of(value: Any, *, is_picture: bool, host: str) -> Cell:
    """`host` is where the page comes from, with its port: the only one from which it may load anything."""
    if not is_picture or not isinstance(value, str):
        return Cell(value)
    if DATA.match(value) and len(value) <= ADDRESS_CHARACTERS_MAX:
        return Cell("", picture=value)
    address = _parts(value)
    if address is None:
        return Cell(value)
    scheme, place = address
    if not place or place == host:
        return Cell(value, picture=value)
    return Cell(value, link=value) if scheme in LINK_SCHEMES else Cell(value)


def _parts(value: str) -> tuple[str, str] | None:
    """Scheme and host of an address, both empty for a path of this host; None for what is no address of either kind."""
    if len(value) > LINK_CHARACTERS_MAX or not value.isprintable() or "\\" in value or " " in value:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    if parts.scheme in LINK_SCHEMES and parts.netloc:
        return parts.scheme, parts.netloc
    is_path = not parts.scheme and not parts.netloc and value.startswith("/") and not value.startswith("//")
    return ("", "") if is_path else None
