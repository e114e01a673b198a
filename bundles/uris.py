"""Where a source may lie: `file` URIs and absolute paths under the tenant's own root, and nothing else.

`file:movies/` is relative to the root; `file:///...` and a plain absolute path must lie inside it. Percent signs
are taken literally, so that one text has one meaning.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from bundles.errors import UriError as UriError

URI_BYTES_MAX = 2048

_PROTOCOL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_RELATIVE_REMEDY = "Write `file:movies/` for the folder `movies` in your tenant's drop folder."


def resolve(uri: str, root: Path, *, field: str = "source.uri") -> Path:
    """The real path that `uri` names, inside the real path of `root`; it need not exist yet.

    Links are followed before the comparison, so the result holds none. Raises UriError.
    """
    path = _path_text(uri, field)
    real_root = Path(os.path.realpath(root))
    # A relative path is joined to the root, an absolute one replaces it.
    real_path = Path(os.path.realpath(real_root / path))
    if not real_path.is_relative_to(real_root):
        raise UriError(
            "uri.outside_root",
            f"{uri!r} lies outside your tenant's drop folder, or is a link that leads out of it.",
            remedy=_RELATIVE_REMEDY,
            field=field,
        )
    return real_path


def check_syntax(uri: str, *, field: str = "source.uri") -> None:
    """Raises UriError unless `uri` could be a source; touches no disk."""
    _path_text(uri, field)


def _path_text(uri: str, field: str) -> str:
    _refuse_odd_text(uri, field)
    _refuse_other_protocols(uri, field)
    path = _without_protocol(uri, field)
    if ".." in path.split("/"):
        raise UriError(
            "uri.parent",
            f"{uri!r} contains `..`; a source never leaves its folder.",
            remedy="Write the path without `..`.",
            field=field,
        )
    return path


def _refuse_odd_text(uri: str, field: str) -> None:
    if not uri.strip():
        raise UriError("uri.bad_syntax", "The source URI is empty.", remedy=_RELATIVE_REMEDY, field=field)
    if uri != uri.strip() or not uri.isprintable():
        raise UriError(
            "uri.bad_syntax",
            f"{uri!r} has blanks around it or characters that do not print.",
            remedy="Remove them.",
            field=field,
        )
    if len(uri.encode("utf-8", "surrogatepass")) > URI_BYTES_MAX:
        raise UriError(
            "uri.bad_syntax",
            f"The source URI is longer than {URI_BYTES_MAX} bytes.",
            remedy="Choose a shorter path.",
            field=field,
        )


def _refuse_other_protocols(uri: str, field: str) -> None:
    if "::" in uri:
        raise UriError(
            "uri.chained",
            f"{uri!r} chains protocols with `::`, which is never allowed.",
            remedy=_RELATIVE_REMEDY,
            field=field,
        )
    protocol = _PROTOCOL.match(uri)
    if protocol and protocol[1].lower() != "file":
        raise UriError(
            "uri.bad_protocol",
            f"{uri!r} has the protocol `{protocol[1]}`; only `file` is allowed.",
            remedy=_RELATIVE_REMEDY,
            field=field,
        )


def _without_protocol(uri: str, field: str) -> str:
    if uri.startswith("/"):
        # Two slashes are a host elsewhere and the same as one here, so they are collapsed.
        return "/" + uri.lstrip("/")
    if not _PROTOCOL.match(uri):
        raise UriError(
            "uri.bad_syntax",
            f"{uri!r} is neither a `file:` URI nor an absolute path.",
            remedy=_RELATIVE_REMEDY,
            field=field,
        )
    path = uri.partition(":")[2]
    if path.startswith("///"):
        return "/" + path.lstrip("/")
    if path.startswith("//"):
        raise UriError(
            "uri.bad_syntax",
            f"{uri!r} names a host after the two slashes; files are read on this machine only.",
            remedy="Write `file:movies/` (relative to your drop folder) or `file:///path` (absolute).",
            field=field,
        )
    if not path:
        raise UriError("uri.bad_syntax", f"{uri!r} names no path.", remedy=_RELATIVE_REMEDY, field=field)
    return path
