"""Makes one replica process answer wrongly or slowly, while its folder holds an order for its process id.

On the PYTHONPATH of a test's node, so that real replica processes can be spoiled and nothing of it is in the product.
`TESTS_SABOTAGE` names the folder; a file `<pid>` in it says `wrong`, or how many seconds each search shall take.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any


class Spoiled:
    """A searcher in front of the real one."""

    def __init__(self, searcher: Any, order: Path) -> None:
        self._searcher, self._order = searcher, order

    def __getattr__(self, name: str) -> Any:
        return getattr(self._searcher, name)

    def search(self, *arguments: Any, **named: Any) -> Any:
        rows, scores = self._searcher.search(*arguments, **named)
        said = self._order.read_text() if self._order.exists() else ""
        if said == "wrong":
            return (rows + 7) % self._searcher.count, scores
        if said:
            time.sleep(float(said))
        return rows, scores


def _spoil() -> None:
    from replicas import loaded

    load = loaded.load
    order = Path(os.environ["TESTS_SABOTAGE"]) / str(os.getpid())

    def spoiled(*arguments: Any, **named: Any) -> Any:
        found = load(*arguments, **named)
        return replace(found, searcher=Spoiled(found.searcher, order))

    loaded.load = spoiled


if "TESTS_SABOTAGE" in os.environ and "replicas.host" in sys.orig_argv:
    _spoil()
