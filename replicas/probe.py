"""Opens an artifact in a throw-away process: a damaged index may crash whoever loads it.

    python -m replicas.probe DIR MANIFEST_SHA256

Exits 0, or prints {"error": {"reason", "message"}} and exits 1. A crash is an answer too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from engines.base import SearchEffort
from replicas.errors import LoadError
from replicas.loaded import LoadedVersion, load

PROBE_TOP_K = 10


def main() -> int:
    """0 when the artifact opens and answers one search."""
    path, manifest_sha256 = sys.argv[1:]
    try:
        _search_once(load(Path(path), manifest_sha256, search_threads=1))
    except LoadError as error:
        sys.stdout.write(json.dumps({"error": {"reason": error.reason, "message": error.message}}) + "\n")
        return 1
    return 0


def _search_once(loaded: LoadedVersion) -> None:
    """Its own first item is a fair question to any index. Raises LoadError when the answer holds no item."""
    question = np.ascontiguousarray(loaded.vectors[:1])
    top_k = min(PROBE_TOP_K, loaded.searcher.count)
    rows, _ = loaded.searcher.search(question, top_k, SearchEffort())
    if rows[0, 0] < 0 or rows.max() >= loaded.searcher.count:
        raise LoadError("artifact.wrong_answer", "the index answers its own first item with nothing or a strange row")


if __name__ == "__main__":
    sys.exit(main())
