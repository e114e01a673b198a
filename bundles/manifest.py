"""The `manifest.json` of a drop: written last by the training job, and read here before anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundles.errors import DropError

MANIFEST_NAME = "manifest.json"
MANIFEST_BYTES_MAX = 1 << 20
PATTERNS_MAX = 100
PATTERN_BYTES_MAX = 512
MODEL_VERSION_CHARACTERS_MAX = 200
COUNT_MAX = 1 << 40


@dataclass(frozen=True)
class DropManifest:
    """What the manifest says; `count` is None and the texts are empty when it says nothing."""

    items: tuple[str, ...]
    ids: tuple[str, ...] = ()
    count: int | None = None
    model_version: str = ""
    queries: str = ""
    query_model: str = ""


def parse_manifest(payload: bytes) -> DropManifest:
    """Raises DropError drop.bad_manifest naming the key. Keys that are not known here are left alone."""
    if len(payload) > MANIFEST_BYTES_MAX:
        raise _bad(f"is larger than {MANIFEST_BYTES_MAX} bytes")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _bad(f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _bad("is not a JSON object")
    if "items" not in document:
        raise _bad("has no `items`, the list of the files with items", key="items")
    return DropManifest(
        items=_patterns(document, "items"),
        ids=_patterns(document, "ids") if "ids" in document else (),
        count=_count(document),
        model_version=_model_version(document),
        queries=_file_name(document, "queries"),
        query_model=_file_name(document, "query_model"),
    )


def check_pattern(pattern: str) -> str | None:
    """Why `pattern` cannot name files inside a drop, or None when it can."""
    if not pattern or len(pattern.encode("utf-8", "surrogatepass")) > PATTERN_BYTES_MAX:
        return f"is empty or longer than {PATTERN_BYTES_MAX} bytes"
    if not pattern.isprintable():
        return "has characters that do not print"
    if any(part in ("", ".", "..") for part in pattern.split("/")):
        return "is not a plain path inside the drop"
    return None


def _patterns(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    patterns = document[key]
    if not isinstance(patterns, list) or not patterns or not all(isinstance(each, str) for each in patterns):
        raise _bad(f"`{key}` must be a list of file names or patterns", key=key)
    if len(patterns) > PATTERNS_MAX:
        raise _bad(f"`{key}` has more than {PATTERNS_MAX} patterns", key=key)
    for pattern in patterns:
        _check(pattern, key)
    return tuple(patterns)


def _file_name(document: Mapping[str, Any], key: str) -> str:
    name = document.get(key)
    if name is None:
        return ""
    if not isinstance(name, str):
        raise _bad(f"`{key}` must be the name of a file", key=key)
    _check(name, key)
    return name


def _check(pattern: str, key: str) -> None:
    objection = check_pattern(pattern)
    if objection:
        raise _bad(f"`{key}`: {pattern[:PATTERN_BYTES_MAX]!r} {objection}", key=key)


def _count(document: Mapping[str, Any]) -> int | None:
    count = document.get("count")
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= COUNT_MAX:
        raise _bad(f"`count` must be a whole number from 0 to {COUNT_MAX}", key="count")
    return count


def _model_version(document: Mapping[str, Any]) -> str:
    model_version = document.get("model_version")
    if model_version is None:
        return ""
    fits = isinstance(model_version, str) and len(model_version) <= MODEL_VERSION_CHARACTERS_MAX
    if not fits or not model_version.isprintable():
        limit = MODEL_VERSION_CHARACTERS_MAX
        raise _bad(f"`model_version` must be a printable text of at most {limit} characters", key="model_version")
    return str(model_version)


def _bad(what: str, key: str = "") -> DropError:
    return DropError("drop.bad_manifest", f"{MANIFEST_NAME} {what}.", {"file": MANIFEST_NAME, "key": key})
