"""`python -m workers.children.version_comparing ORDER.json`: the items and the answers of two published versions.

The order names both artifacts with the checksums of their manifests. Every byte that is read here is verified before;
no index is loaded. Result: {"items", "answers"}: counts and samples of ids (None when the two have ids of different
types), and what `answers.compare` tells.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bundles.artifact import Artifact, open_artifact
from bundles.catalogue import Lookup
from workers.children import answers, id_sets
from workers.children.program import Order, RowsDone, run


def work(order: Order) -> dict[str, Any]:
    """Raises ArtifactError."""
    ours, other = (_opened(order[name]) for name in ("version", "other"))
    if ours.id_type != other.id_type:
        return {"items": None, "answers": None}
    sets = id_sets.compare(Lookup.of(ours.path), Lookup.of(other.path), RowsDone())
    likeness = answers.compare(
        answers.VersionData(ours), answers.VersionData(other), sets.picked, order["top_k"], RowsDone()
    )
    return {"items": {**sets.counts, "samples": sets.samples}, "answers": likeness}


def _opened(artifact: dict[str, str]) -> Artifact:
    return open_artifact(Path(artifact["path"]), artifact["manifest_sha256"], with_index=False)


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
