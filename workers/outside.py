"""Has engines remove, or release, what indexes are made of outside their folders, before the folders go.

In a child of its own: what it imports for this is too heavy for a worker that lives long, and a server may be silent.
There is none where all that goes is also what an index that stays is made of.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings

from engines import registry
from engines.errors import EngineError
from workers import doorbell
from workers.child import run_child
from workers.folders import is_index
from workers.outcomes import StepFailed
from workers.sweep import unless_redis_is_away

CHILD = "workers.children.removing"
# With servers, from when the child is ready: less than a tick of the sweeper that asks for it.
SECONDS_MAX = 25.0
# Until it is. What is imported in 1 s takes many times that where every core is busy, and this says nothing of servers.
START_SECONDS_MAX = 120.0
# It takes a second of CPU in all, for which a worker waits: as nice as a build it would wait for every build.
NICE_MAX = 10
# Whoever died in a tick of several errands is forgotten after so long.
TICK_SECONDS_FORGOTTEN = 2 * int(START_SECONDS_MAX + SECONDS_MAX)
MEMORY_BYTES_MAX = 2**30
# How a child may end that says nothing of what it was to do.
UNHEARD = ("engine.too_slow", "engine.crashed", "engine.out_of_memory")


class Left(NamedTuple):
    """Why a folder has to stay for now, for people."""

    why: str
    # The errand was not done, so that no engine has said anything of it.
    unheard: bool = False


@unless_redis_is_away
def alone(*ticks: Callable[[], None]) -> None:
    """Nothing while another worker is at these: what takes longer than its tick is not begun beside itself."""
    with doorbell.alone(ticks[0].__name__, seconds_max=TICK_SECONDS_FORGOTTEN) as mine:
        for tick in ticks if mine else ():
            tick()


def held_back(going: Iterable[Path], staying: Callable[[], Iterable[Path]], *, child: str = CHILD) -> dict[Path, Left]:
    """Of the folders `going`, artifacts, working folders and single indexes, those that have to stay for now, and why.

    `staying`: all those whose indexes are wanted, but an index that goes; it is asked when it matters. `child` does to
    the others what it does.
    """
    folder_of = {index: folder for folder in going for index in _indexes(folder) if registry.is_more_than_files(index)}
    if not folder_of:
        return {}
    owner_of = {index: _owner(index.parent) for index in folder_of}
    owners = set(owner_of.values())
    kept = [folder for folder in staying() if _owner(folder) in owners]
    # A disk that is away must not look like an index that nobody wants.
    unseen = {_owner(folder): folder for folder in kept if not folder.is_dir()}
    blind = {folder_of[index]: unseen[owner] for index, owner in owner_of.items() if owner in unseen}
    wanted = [index for folder in kept for index in _indexes(folder) if index not in folder_of]
    seen = [index for index, folder in folder_of.items() if folder not in blind]
    left = _left(child, _in_need_of_a_server(seen, wanted), wanted)
    return {
        **{folder: Left(f"{away}, which may be made of the same, is not there.") for folder, away in blind.items()},
        **{folder_of[index]: why for index, why in left.items()},
    }


def asked(child: str, order: dict[str, Any]) -> dict[str, Any]:
    """What a child says that asks the servers of engines. Raises StepFailed, also when it takes too long."""
    limits = {
        "parent_pid": os.getpid(),
        "nice": min(settings.BUILD_NICE, NICE_MAX),
        "cpus": settings.BUILD_CPUS,
        "memory_bytes_max": MEMORY_BYTES_MAX,
    }
    with tempfile.TemporaryDirectory(prefix="recall-outside-") as folder:
        limit = _Limit()
        return run_child(
            child, limits | order, Path(folder), check=limit.check, progress=_nobody_hears, ready=limit.begin
        )


def _in_need_of_a_server(going: list[Path], staying: list[Path]) -> list[Path]:
    """Those of `going` that are made of something of which nothing in `staying` is made; the others need no server.

    What cannot be read is no reason to leave anything out: the child finds the same, and says so.
    """
    try:
        kept = frozenset().union(*map(registry.things_of, staying))
    except EngineError:
        return going
    return [index for index in going if not _is_made_of(index, kept)]


def _is_made_of(index: Path, things: frozenset[str]) -> bool:
    try:
        made_of = registry.things_of(index)
    except EngineError:
        return False
    return bool(made_of) and made_of <= things


def _left(child: str, going: list[Path], staying: list[Path]) -> dict[Path, Left]:
    try:
        return _done(child, going, staying) if going else {}
    except StepFailed as error:
        unheard = error.reason in UNHEARD
        return {index: Left(f"{error.message}{_places_text(index) if unheard else ''}", unheard) for index in going}


def _places_text(index: Path) -> str:
    """What may not have answered, by the name that its administrators gave it."""
    names = registry.place_names(index)
    return f" It lies at {', '.join(names)}." if names else ""


def _done(child: str, going: list[Path], staying: list[Path]) -> dict[Path, Left]:
    """Raises StepFailed, with which all of `going` are left."""
    order = {"going": [str(path) for path in going], "staying": [str(path) for path in staying]}
    done = asked(child, order)
    return {Path(index): Left(why) for index, why in done["left"].items()}


def _owner(folder: Path) -> tuple[str, str]:
    """Tenant and service, by whose names it lies; nobody else's index is made of the same."""
    return folder.parent.parent.name, folder.parent.name


def _indexes(folder: Path) -> list[Path]:
    """An index is its own; an artifact has one, a working folder one of each worker that began to build. Nothing else
    is looked into: what a tenant has delivered may have any name. Empty where there is no such folder.
    """
    if is_index(folder):
        return [folder]
    try:
        return [path for path in folder.iterdir() if is_index(path) and path.is_dir()]
    except OSError:
        return []


class _Limit:
    """How long a child may take: to begin, and then, whatever that took, with the servers."""

    def __init__(self) -> None:
        self._until = time.monotonic() + START_SECONDS_MAX
        self._late = f"It had not begun within {START_SECONDS_MAX:g} s: the machine is too busy."

    def begin(self) -> None:
        self._until = time.monotonic() + SECONDS_MAX
        self._late = f"It was not done within {SECONDS_MAX:g} s."

    def check(self) -> None:
        """Raises StepFailed."""
        if time.monotonic() > self._until:
            raise StepFailed("engine.too_slow", self._late)


def _nobody_hears(_done: int, _expected: int, _unit: str = "rows", /) -> None:
    """Such an errand tells no progress."""
