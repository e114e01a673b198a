"""The two protocols of an engine, and the values that cross them.

An engine is a builder (vectors to files) and a searcher (files to answers). Labels are dense row numbers, 0 to n-1;
what an item is called outside is mapped outside. Vectors and queries of a `cosine` index arrive normalised, so engines
treat it like `ip`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.description import Metric
from engines.rowset import RowSet

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Progress = Callable[[int], None]

SEED = 100


@dataclass(frozen=True)
class IndexSpec:
    """What to build or to open; `params` are the engine's own, typed in its params.py.

    `partition_rows` says how many rows each partition has, of which the first ones lie in the first; empty: as nearly
    the same as can be. `beside` are the index folders of what serves while this is built, the foremost first: an engine
    that asks servers builds at one that does not serve. `together` are those of builds under way that this one is to
    move with: it is made where they are. `own` is the one of `beside` that answers for this service, if any does: it is
    not made there because another server does not answer just now. All of them count for building only.
    """

    metric: Metric
    dimension: int
    partitions: int = 1
    partition_rows: tuple[int, ...] = ()
    beside: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    threads: int = 1
    params: Mapping[str, object] = field(default_factory=dict)
    seed: int = SEED


@dataclass(frozen=True)
class SearchEffort:
    """How hard to look, and how long; an engine reads what it knows. None means the engine's own default.

    `until`: a moment of time.monotonic() from which on nobody waits for the answer. An engine that asks no server need
    not look at it: a search that is under way is not ended. One that asks a server raises DeadlineOver from then on,
    where only a scan would still complete the answer.
    """

    ef: int | None = None
    nprobe: int | None = None
    exact: bool = False
    until: float | None = None


class IndexBuilder(Protocol):
    """Turns vectors into index files. An engine's own builder and searcher know of one partition only."""

    def build(self, spec: IndexSpec, vectors: Float32, out_dir: Path, progress: Progress) -> None:
        """Write the whole index of `vectors` [n, d] float32 into `out_dir`.

        `vectors` may be a read-only memory map. `progress` is called in this thread with the rows done so far, rising,
        lastly with n. Raises EngineError.
        """


class IndexSearcher(Protocol):
    """Answers from one loaded index, from any number of threads at once."""

    @property
    def count(self) -> int: ...

    @property
    def dimension(self) -> int: ...

    def search(
        self, queries: Float32, top_k: int, effort: SearchEffort, allowed: RowSet | None = None
    ) -> tuple[Int64, Float32]:
        """Rows [q, top_k] int64 and scores [q, top_k] float32 for queries [q, d] float32, best first.

        Only `allowed` rows, where it is given; an engine whose description does not say `filters` refuses it. What a
        graph finds of them at this effort may be fewer than there are. Where there are fewer than top_k, rows are -1
        and scores NaN. Raises EngineError.
        """

    def rows_held(self, until: float | None = None) -> int:
        """How many rows the index has now: `count` as it was opened, unless somebody else could change it meanwhile.

        A server is asked, and waited for `until` a moment of time.monotonic(). Raises EngineError.
        """

    def close(self) -> None:
        """Let go of the memory; a search that is under way ends as it would have."""


class SearcherOpener(Protocol):
    """Opens the index in `index_dir`, built from exactly these `vectors` [n, d] float32 (often a memory map)."""

    def __call__(self, spec: IndexSpec, index_dir: Path, vectors: Float32) -> IndexSearcher: ...


class ServiceName(NamedTuple):
    """By which a service is known everywhere; `name` alone is its tenant's to choose."""

    tenant: str
    name: str


class IndexAliaser(Protocol):
    """Keeps names of live indexes at servers, for people with other tools. An engine that asks none offers no such."""

    def __call__(self, live: Mapping[ServiceName, Path | None]) -> dict[ServiceName, str]:
        """Of the services in `live` those whose name does not stand everywhere as it should yet, each with the reason.

        `live` says of each the folder of the index that answers for it, of whatever engine; None when none does, and
        then nothing has its name afterwards. It may be done twice.
        """


class IndexRemover(Protocol):
    """Removes what indexes are made of outside their folders. An engine whose indexes are their files offers none."""

    def __call__(self, going: Sequence[Path], staying: Sequence[Path]) -> dict[Path, str]:
        """Of the index folders `going` those of which something is left, each with the reason for people.

        What an index in `staying` is made of, too, is not removed and keeps nobody; what is gone already is no error.
        No file is touched. Folders may be of other engines, half built, or gone. Raises EngineError when an index that
        stays cannot be read, and then nothing is removed.
        """


class IndexReleaser(Protocol):
    """Has servers give back the memory of indexes that nobody searches. Engines that ask none offer no such."""

    def __call__(self, going: Sequence[Path], staying: Sequence[Path]) -> dict[Path, str]:
        """As `IndexRemover`, but that the indexes `going` stay there, and are loaded again by whoever opens them."""
