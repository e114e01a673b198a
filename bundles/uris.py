"""How a source is written: `file` URIs and absolute paths, `s3://bucket/prefix/`, `webhdfs://host:port/path/`.

`file:movies/` is relative to the tenant's root; `file:///...` and a plain absolute path must lie inside it. Percent
signs are taken literally, so that one text has one meaning. Which remote places a tenant may name is told by
`bundles.places`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundles.errors import UriError as UriError

URI_BYTES_MAX = 2048
# A part of a remote path becomes a folder's name here.
PART_BYTES_MAX = 255

RemoteProtocol = Literal["s3", "webhdfs"]

_PROTOCOL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
# A bucket's name as S3 has it, which is neither an ARN nor a host; a host is a name or an IPv4 address.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_NAMENODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}:[0-9]{1,5}", re.ASCII)
# What would begin a query, a fragment or another separator in the addresses that are made of a path.
_NOT_IN_REMOTE_PATHS = "?#\\"
_REMOTES: dict[RemoteProtocol, tuple[re.Pattern[str], str]] = {
    "s3": (_BUCKET, "Write `s3://bucket/prefix/`."),
    "webhdfs": (_NAMENODE, "Write `webhdfs://namenode:port/path/`."),
}
_RELATIVE_REMEDY = "Write `file:movies/` for the folder `movies` in your tenant's drop folder."


@dataclass(frozen=True)
class RemoteUri:
    """`host` is a bucket, or a name node with its port. `path` is empty, or has no slash before it and one after."""

    protocol: RemoteProtocol
    host: str
    path: str


def parse_remote(uri: str, *, field: str = "source.uri") -> RemoteUri | None:
    """The parts of an s3 or webhdfs URI, None for any other. Raises UriError."""
    _refuse_odd_text(uri, field)
    _refuse_other_protocols(uri, field)
    protocol, _, rest = uri.partition(":")
    for known, (host_pattern, remedy) in _REMOTES.items():
        if protocol.lower() == known:
            host, _, path = rest.removeprefix("//").partition("/")
            if not rest.startswith("//") or not host_pattern.fullmatch(host):
                message = f"{uri!r} does not name a place as `{known}` does."
                raise UriError("uri.bad_syntax", message, remedy=remedy, field=field)
            return RemoteUri(known, host.lower(), _remote_path(uri, path, field))
    return None


def _remote_path(uri: str, path: str, field: str) -> str:
    parts = path.removesuffix("/").split("/") if path else []
    if ".." in parts:
        raise _parent(uri, field)
    too_long = any(len(part.encode("utf-8", "surrogatepass")) > PART_BYTES_MAX for part in parts)
    odd = any(part in ("", ".") for part in parts) or any(character in path for character in _NOT_IN_REMOTE_PATHS)
    if odd or too_long:
        raise UriError(
            "uri.bad_syntax",
            f"The path in {uri!r} has an empty part, a `.`, one of the characters {_NOT_IN_REMOTE_PATHS}, or a part of "
            f"more than {PART_BYTES_MAX} bytes.",
            remedy="Write the path plainly, without them.",
            field=field,
        )
    return "".join(f"{part}/" for part in parts)


def resolve(uri: str, root: Path, *, field: str = "source.uri") -> Path:
    """The real path that `uri` names, inside the real path of `root`; it need not exist yet.

    Links are followed before the comparison, so the result holds none. Raises UriError.
    """
    check_syntax(uri, field=field)
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
    """Raises UriError unless `uri` could be a source; touches neither disk nor network."""
    if parse_remote(uri, field=field) is None:
        _path_text(uri, field)


def _path_text(uri: str, field: str) -> str:
    _refuse_odd_text(uri, field)
    _refuse_other_protocols(uri, field)
    path = _without_protocol(uri, field)
    if ".." in path.split("/"):
        raise _parent(uri, field)
    return path


def _parent(uri: str, field: str) -> UriError:
    message = f"{uri!r} contains `..`; a source never leaves its folder."
    return UriError("uri.parent", message, remedy="Write the path without `..`.", field=field)


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
    if protocol and protocol[1].lower() not in ("file", *_REMOTES):
        raise UriError(
            "uri.bad_protocol",
            f"{uri!r} has the protocol `{protocol[1]}`; only `file`, `s3` and `webhdfs` are allowed.",
            remedy=_RELATIVE_REMEDY,
            field=field,
        )


def _without_protocol(uri: str, field: str) -> str:
    if uri.startswith("/"):
        # Two slashes are a host elsewhere and the same as one here, so they are collapsed.
        return "/" + uri.lstrip("/")
    protocol = _PROTOCOL.match(uri)
    if not protocol or protocol[1].lower() != "file":
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
