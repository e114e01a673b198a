"""Which engines there are. Reads their descriptions; imports an engine's library only to build or to open.

A new engine is a folder with params.py, builder.py, searcher.py and README.md, with placing.py, removal.py and perhaps
aliases.py where an index is more than its files, settings.py where it reads the environment, and a row here. Partitions
come with it: `engines.partitioned` is imported late because it brings numpy, which a web process does without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engines.description import PARTITIONS_MAX as PARTITIONS_MAX
from engines.description import EngineDescription
from engines.errors import UnknownEngine

if TYPE_CHECKING:
    from engines.base import (
        Float32,
        IndexAliaser,
        IndexBuilder,
        IndexReleaser,
        IndexRemover,
        IndexSearcher,
        IndexSpec,
        SearcherOpener,
        ServiceName,
    )


class Entry(NamedTuple):
    """Where an engine's parts are, as `module:name`."""

    description: str
    builder: str
    searcher: str
    # Of an engine whose description has a `reference_file`.
    remover: str = ""
    releaser: str = ""
    aliaser: str = ""
    places: str = ""
    things: str = ""


ENGINES: dict[str, Entry] = {
    "flat": Entry(
        "engines.flat.params:DESCRIPTION", "engines.flat.builder:FlatBuilder", "engines.flat.searcher:FlatSearcher"
    ),
    "hnsw": Entry(
        "engines.hnsw.params:DESCRIPTION", "engines.hnsw.builder:HnswBuilder", "engines.hnsw.searcher:HnswSearcher"
    ),
    "faiss": Entry(
        "engines.faiss.params:DESCRIPTION", "engines.faiss.builder:FaissBuilder", "engines.faiss.searcher:FaissSearcher"
    ),
    "milvus": Entry(
        "engines.milvus.params:DESCRIPTION",
        "engines.milvus.builder:MilvusBuilder",
        "engines.milvus.searcher:MilvusSearcher",
        remover="engines.milvus.removal:remove",
        releaser="engines.milvus.removal:release",
        aliaser="engines.milvus.aliases:keep",
        places="engines.milvus.placing:instances_of",
        things="engines.milvus.reference:names_in",
    ),
}

AUTO = "auto"
AUTO_SMALL, AUTO_LARGE, AUTO_FILTERED = "flat", "hnsw", "faiss"
# Items x dimension up to which one exact query stays under a millisecond: measured with dimension 64 and top 100 on
# one core, 20,000 items take 0.4 ms, 50,000 take 0.9 and 100,000 take 1.8.
AUTO_SMALL_VALUES_MAX = 40_000 * 64


class Choice(NamedTuple):
    """The engine that `auto` stands for, and why, for people."""

    name: str
    reason: str


def names() -> tuple[str, ...]:
    """All engines, without `auto`."""
    return tuple(ENGINES)


def describe(name: str) -> EngineDescription:
    """What an engine says about itself. Raises UnknownEngine."""
    description: EngineDescription = _load(_entry(name).description)
    return description


def builder(name: str) -> IndexBuilder:
    """A builder of this engine, in any number of partitions; imports its library. Raises UnknownEngine."""
    from engines.partitioned import PartitionedBuilder

    return PartitionedBuilder(_load(_entry(name).builder)())


def open_searcher(name: str, spec: IndexSpec, index_dir: Path, vectors: Float32) -> IndexSearcher:
    """Open the index in `index_dir`, whose checksums were verified, built from exactly `vectors` [n, d].

    `spec.threads` is how many threads a search with several queries may use. Raises EngineError.
    """
    from engines.partitioned import open_partitioned

    opener: SearcherOpener = _load(_entry(name).searcher)
    return open_partitioned(opener, spec, index_dir, vectors)


def remote_names() -> tuple[str, ...]:
    """The engines whose indexes lie at servers."""
    return tuple(name for name in ENGINES if describe(name).remote)


def places_of(index_dir: Path) -> frozenset[str]:
    """The servers at which the index in `index_dir` lies, or is being made, as names that can be compared.

    Empty for an index that is its files, and for a folder that cannot be read. Asks no server, imports no library.
    """
    return frozenset(
        f"{name}:{place}" for name, entry in ENGINES.items() if entry.places for place in _load(entry.places)(index_dir)
    )


def place_names(index_dir: Path) -> list[str]:
    """The same places for people, who know the engine: as whoever configured them called them, in order."""
    return sorted(place.partition(":")[2] for place in places_of(index_dir))


def is_more_than_files(index_dir: Path) -> bool:
    """Whether the index in `index_dir`, or what a build that died left of it, has to be removed before its files."""
    files = (describe(name).reference_file for name in ENGINES)
    return any(any(index_dir.rglob(file)) for file in files if file)


def things_of(index_dir: Path) -> frozenset[str]:
    """What the index in `index_dir` is made of outside its folder, as names that can be compared; empty where it is its
    files. Asks no server, imports no library. Raises EngineError when the folder does not tell.
    """
    return frozenset(
        f"{name}:{thing}" for name, entry in ENGINES.items() if entry.things for thing in _load(entry.things)(index_dir)
    )


def import_errands() -> None:
    """Imports what `remove`, `release` and `keep_aliases` need, which may take long where the machine is busy."""
    for entry in ENGINES.values():
        for errand in (entry.remover, entry.releaser, entry.aliaser):
            if errand:
                _load(errand)


def remove(going: Sequence[Path], staying: Sequence[Path]) -> dict[Path, str]:
    """What `IndexRemover` says, of all engines; imports the libraries of those that have one. Raises EngineError."""
    removers: list[IndexRemover] = [_load(entry.remover) for entry in ENGINES.values() if entry.remover]
    return _left_by(removers, going, staying)


def release(going: Sequence[Path], staying: Sequence[Path]) -> dict[Path, str]:
    """What `IndexReleaser` says, of all engines; imports the libraries of those that have one. Raises EngineError."""
    releasers: list[IndexReleaser] = [_load(entry.releaser) for entry in ENGINES.values() if entry.releaser]
    return _left_by(releasers, going, staying)


def _left_by(
    errands: Iterable[IndexRemover | IndexReleaser], going: Sequence[Path], staying: Sequence[Path]
) -> dict[Path, str]:
    """Of which folders it could not be done, by any engine, and why."""
    left: dict[Path, str] = {}
    for errand in errands:
        left |= errand(going, staying)
    return left


def keeps_aliases(name: str) -> bool:
    """Whether this engine, if there is one of this name, keeps names of live indexes at a server."""
    entry = ENGINES.get(name)
    return entry is not None and bool(entry.aliaser)


def keep_aliases(live: Mapping[ServiceName, Path | None]) -> dict[ServiceName, str]:
    """What `IndexAliaser` says, of all engines; imports the libraries of those that have one."""
    aliasers: list[IndexAliaser] = [_load(entry.aliaser) for entry in ENGINES.values() if entry.aliaser]
    left: dict[ServiceName, str] = {}
    for aliaser in aliasers:
        left |= aliaser(live)
    return left


def choose(items: int, dimension: int, *, filterable: bool) -> Choice:
    """The engine that `auto` means for this many items; `filterable`: they have attributes."""
    limit = AUTO_SMALL_VALUES_MAX // dimension
    if items <= limit:
        return Choice(AUTO_SMALL, f"up to {limit:,} items of dimension {dimension} an exact search takes under 1 ms")
    large = f"over {limit:,} items of dimension {dimension} an exact search takes more than 1 ms"
    if filterable:
        return Choice(AUTO_FILTERED, f"{large}, and items with attributes may be filtered")
    return Choice(AUTO_LARGE, f"{large}, and items without attributes are not filtered")


def largest(*, filterable: bool) -> str:
    """The engine that `auto` means when there are many items."""
    return AUTO_FILTERED if filterable else AUTO_LARGE


def compact(items: int, dimension: int) -> tuple[str, dict[str, object]] | None:
    """An engine and parameters for where memory matters most; None when `auto` does as well for so few items."""
    if items <= AUTO_SMALL_VALUES_MAX // dimension:
        return None
    able = ((name, describe(name).compact_params) for name in ENGINES)
    return next(((name, dict(params)) for name, params in able if params is not None), None)


def _entry(name: str) -> Entry:
    try:
        return ENGINES[name]
    except KeyError:
        raise UnknownEngine(f"engine {name!r} is not one of {', '.join(ENGINES)}", field="engine") from None


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)
