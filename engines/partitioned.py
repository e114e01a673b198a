"""An index in partitions: sub-indexes of any engine, built side by side, searched side by side, their answers merged.

A partition is a run of rows, so that its vectors are a slice of the map and nothing is copied; which items lie in which
run is decided where rows are ordered. Each partition has a folder of its own in the index's, none where it has no rows;
`partitions.json` beside them says how many rows each has. An index in one partition is the engine's own and knows
nothing of this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock
from typing import NamedTuple

import numpy as np

from engines.base import Float32, IndexBuilder, IndexSearcher, IndexSpec, Int64, Progress, SearchEffort, SearcherOpener
from engines.checks import check_queries, check_size
from engines.description import PARTITIONS_MAX
from engines.errors import (
    IndexMismatch,
    IndexUnreadable,
    OutOfMemory,
    ParamsInvalid,
    SearcherClosed,
    VectorsInvalid,
)
from engines.metrics import larger_is_better
from engines.rowset import RowSet

PARTITIONS_FILE = "partitions.json"


class Run(NamedTuple):
    """A partition that has rows: its number, and the rows `first` to `end` - 1."""

    number: int
    first: int
    end: int

    @property
    def rows(self) -> int:
        return self.end - self.first

    def folder(self, index_dir: Path) -> Path:
        return index_dir / f"partition-{self.number}"


class PartitionedBuilder:
    """Builds with the engine's builder, in one partition or in several, always on `spec.threads` threads.

    As many partitions at a time as there are threads, each on one of them, which makes the build repeatable; where
    there are more threads than partitions, one partition after another on all of them. Threads that several builds
    started each for itself could together have no room, which some libraries do not survive.
    """

    def __init__(self, engine: IndexBuilder) -> None:
        self._engine = engine

    def build(self, spec: IndexSpec, vectors: Float32, out_dir: Path, progress: Progress) -> None:
        """Raises ParamsInvalid for partitions that cannot be, and whatever the engine's builder raises."""
        _check_partitions(spec)
        if spec.partitions == 1:
            self._engine.build(replace(spec, partition_rows=()), vectors, out_dir, progress)
            return
        sizes = _sizes(spec, len(vectors))
        # The longest first, so that none is left to be built alone in the end.
        runs = sorted(_runs(sizes), key=lambda run: run.rows, reverse=True)
        _SideBySide(self._engine, spec, vectors, out_dir).build(runs, progress)
        (out_dir / PARTITIONS_FILE).write_text(json.dumps({"rows": sizes}))


class _SideBySide:
    """One build of several partitions."""

    def __init__(self, engine: IndexBuilder, spec: IndexSpec, vectors: Float32, out_dir: Path) -> None:
        self._engine, self._spec, self._vectors, self._out_dir = engine, spec, vectors, out_dir
        self._failed = Event()
        # (number of a partition, its rows that are done), or None when a partition has ended.
        self._told: SimpleQueue[tuple[int, int] | None] = SimpleQueue()

    def build(self, runs: Sequence[Run], progress: Progress) -> None:
        threads = self._spec.threads
        at_once, each = (threads, 1) if threads <= len(runs) else (1, threads)
        with ThreadPoolExecutor(at_once, "build-partition") as pool:
            try:
                built = [pool.submit(self._build_one, run, each) for run in runs]
            except RuntimeError as error:
                self._failed.set()
                raise OutOfMemory("the threads of this build have no room in the memory that it may use") from error
            try:
                self._pass_on(len(runs), progress)
            except BaseException:
                self._failed.set()
                raise
        _raise_first(built)

    def _build_one(self, run: Run, threads: int) -> None:
        try:
            self._go_on()
            folder = run.folder(self._out_dir)
            folder.mkdir(exist_ok=True)
            part = replace(self._spec, partitions=1, partition_rows=(), threads=threads)
            self._build_part(part, run, folder)
        except BaseException:
            self._failed.set()
            raise
        finally:
            self._told.put(None)

    def _build_part(self, part: IndexSpec, run: Run, folder: Path) -> None:
        def tell(rows_done: int) -> None:
            self._go_on()
            self._told.put((run.number, rows_done))

        try:
            self._engine.build(part, self._vectors[run.first : run.end], folder, tell)
        except VectorsInvalid as error:
            raise error.moved(run.first) from error

    def _go_on(self) -> None:
        if self._failed.is_set():
            raise _Abandoned

    def _pass_on(self, runs: int, progress: Progress) -> None:
        """Calls `progress` in this thread with the sum over all partitions until each has ended."""
        done: dict[int, int] = {}
        while runs:
            told = self._told.get()
            if told is None:
                runs -= 1
                continue
            number, rows = told
            done[number] = rows
            progress(sum(done.values()))


class _Abandoned(Exception):
    """Another partition has failed, so that this one is of no use."""


def _raise_first(built: Sequence[Future[None]]) -> None:
    """The error that ended the build; those who were abandoned because of it say nothing."""
    errors = [error for future in built if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, _Abandoned):
            raise error


class PartitionedSearcher:
    """Searches all partitions at once and gives the best of what they find."""

    def __init__(self, spec: IndexSpec, runs: Sequence[Run], searchers: Sequence[IndexSearcher]) -> None:
        self.count, self.dimension = sum(searcher.count for searcher in searchers), spec.dimension
        self._metric = spec.metric
        self._runs, self._searchers = runs, searchers
        helpers = min(spec.threads, len(searchers)) - 1
        self._pool = ThreadPoolExecutor(helpers, "search-partition") if helpers else None
        self._lock = Lock()
        self._under_way = 0
        self._closed = False

    def search(
        self, queries: Float32, top_k: int, effort: SearchEffort, allowed: RowSet | None = None
    ) -> tuple[Int64, Float32]:
        """Raises QueryInvalid, SearcherClosed."""
        queries = check_queries(queries, self.dimension, top_k)
        check_size(allowed, self.count)
        searches = [
            partial(
                searcher.search, queries, top_k, effort, None if allowed is None else allowed.part(run.first, run.end)
            )
            for run, searcher in zip(self._runs, self._searchers, strict=True)
        ]
        with self._in_use():
            found = self._search_all(searches)
        return self._merge(found, top_k)

    def rows_held(self, until: float | None = None) -> int:
        """Raises EngineError."""
        with self._in_use():
            return sum(searcher.rows_held(until) for searcher in self._searchers)

    def close(self) -> None:
        """What is under way ends as it would have; the last one of it lets go of the memory."""
        with self._lock:
            idle = not self._closed and not self._under_way
            self._closed = True
        if idle:
            self._let_go()

    def _search_all(self, searches: Sequence[Callable[[], tuple[Int64, Float32]]]) -> list[tuple[Int64, Float32]]:
        """What each partition finds. This thread takes the first one, and of the others those that nobody has begun."""
        if self._pool is None:
            return [search() for search in searches]
        first, *others = searches
        begun = [self._pool.submit(search) for search in others]
        try:
            own = first()
            # From the far end, where the helpers come last.
            mine = {place: others[place]() for place in reversed(range(len(others))) if begun[place].cancel()}
            return [own, *(mine[place] if place in mine else future.result() for place, future in enumerate(begun))]
        except BaseException:
            for future in begun:
                future.cancel()
            raise

    def _merge(self, found: Sequence[tuple[Int64, Float32]], top_k: int) -> tuple[Int64, Float32]:
        """Equal scores stay in the order of partitions, which is that of rows; what is no hit (NaN) comes last."""
        rows = np.hstack(
            [np.where(some >= 0, some + run.first, -1) for run, (some, _) in zip(self._runs, found, strict=True)]
        )
        scores = np.hstack([some for _, some in found])
        costs = -scores if larger_is_better(self._metric) else scores
        best = np.argsort(costs, axis=1, kind="stable")[:, :top_k]
        return np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise SearcherClosed("this searcher is closed")
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                is_last = self._closed and not self._under_way
            if is_last:
                self._let_go()

    def _let_go(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        for searcher in self._searchers:
            searcher.close()


def open_partitioned(opener: SearcherOpener, spec: IndexSpec, index_dir: Path, vectors: Float32) -> IndexSearcher:
    """The searcher of an index in any number of partitions.

    Raises ParamsInvalid for partitions that cannot be, IndexMismatch and IndexUnreadable when the index has others, and
    whatever `opener` raises.
    """
    _check_partitions(spec)
    file = index_dir / PARTITIONS_FILE
    if spec.partitions == 1:
        if file.exists():
            raise IndexMismatch("the index has several partitions, expected 1", field="partitions")
        return opener(replace(spec, partition_rows=()), index_dir, vectors)
    runs = _runs(_read_sizes(file, spec, len(vectors)))
    parts = replace(spec, partitions=1, partition_rows=())
    opened: list[IndexSearcher] = []
    try:
        for run, threads in zip(runs, _shares(spec.threads, len(runs)), strict=True):
            part = vectors[run.first : run.end]
            opened.append(opener(replace(parts, threads=threads), run.folder(index_dir), part))
    except BaseException:
        for searcher in opened:
            searcher.close()
        raise
    return PartitionedSearcher(spec, runs, opened)


def _check_partitions(spec: IndexSpec) -> None:
    if not 1 <= spec.partitions <= PARTITIONS_MAX:
        message = f"partitions: {spec.partitions} is not within 1 and {PARTITIONS_MAX}"
        raise ParamsInvalid(message, field="partitions")
    if spec.threads < 1:
        raise ParamsInvalid(f"threads: {spec.threads} is less than 1", field="threads")


def _sizes(spec: IndexSpec, rows: int) -> list[int]:
    """How many rows each partition has: as the spec says, else as nearly the same as can be. Raises ParamsInvalid."""
    if not spec.partition_rows:
        return _shares(rows, spec.partitions, least=0)
    sizes = list(spec.partition_rows)
    if len(sizes) != spec.partitions or min(sizes) < 0 or sum(sizes) != rows:
        message = f"partition_rows: {sizes} are not {spec.partitions} partitions of {rows} rows"
        raise ParamsInvalid(message, field="partition_rows")
    return sizes


def _read_sizes(file: Path, spec: IndexSpec, rows: int) -> list[int]:
    """Raises IndexUnreadable, IndexMismatch."""
    try:
        sizes = json.loads(file.read_bytes())["rows"]
    except OSError as error:
        raise IndexUnreadable(f"{file.name}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IndexUnreadable(f"{file.name} does not say how many rows each partition has") from error
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise IndexUnreadable(f"{file.name} does not say how many rows each partition has")
    if len(sizes) != spec.partitions:
        message = f"the index has {len(sizes)} partitions, expected {spec.partitions}"
        raise IndexMismatch(message, field="partitions")
    if sum(sizes) != rows:
        raise IndexMismatch(f"the index has items {sum(sizes)}, expected {rows}", field="items")
    return sizes


def _runs(sizes: Sequence[int]) -> list[Run]:
    """Those partitions that have rows, in their order. Raises VectorsInvalid when none has."""
    ends = list(accumulate(sizes))
    runs = [Run(number, end - size, end) for number, (size, end) in enumerate(zip(sizes, ends, strict=True)) if size]
    if not runs:
        raise VectorsInvalid("0 rows make no index")
    return runs


def _shares(whole: int, parts: int, *, least: int = 1) -> list[int]:
    """`whole` divided among `parts`, as evenly as can be and the larger shares first; none is less than `least`."""
    return [max(least, whole // parts + (part < whole % parts)) for part in range(parts)]
