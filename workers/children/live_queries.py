"""Reads what replicas sampled of a service's live queries, for a build that has no recorded ones.

They count only where the version that is built is at home: a vector of another model, dimension or metric says nothing
there. And only when both name their model: nobody vouches that two models without a name are one. A file that cannot be
used is told of, and does not stop the build.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bundles import samples
from bundles.batches import Float32
from bundles.errors import SamplesError
from bundles.samples import SAMPLES_SECONDS_MAX, Samples, Space, Window

QUERIES_MAX = 1_000
# Of different vectors: fewer say less than a sample of the items does.
DIFFERENT_MIN = 100
SEED = 1_985
HOURS = int(SAMPLES_SECONDS_MAX // 3600)
NONE_YET = f"No live query was sampled in the last {HOURS} hours."
UNNAMED = (
    "Live queries were sampled, but neither they nor the drop name a model, so that nobody knows whether their vectors "
    "are of one. Name `model_version` in the drop's manifest.json to tune on them."
)


@dataclass(frozen=True)
class Found:
    """`vectors` [q, d], as they were searched, are None when there is nothing to ask with; `note` tells people why, or
    what they are. `ignored`: what is wrong with each file that could not be used. `top_k`: what callers asked for.
    """

    vectors: Float32 | None
    note: str
    ignored: list[str] = field(default_factory=list)
    top_k: dict[str, int] | None = None


def gather(order: dict[str, Any]) -> Found:
    """By what `workers.samples.order` says."""
    space = Space(**order["space"])
    read, ignored = _read(order)
    own = [each for each in read if each.space == space]
    if not own:
        return Found(None, _of_another_space(read, space) if read else NONE_YET, ignored)
    if not space.model_version:
        return Found(None, UNNAMED, ignored)
    windows = [window for each in own for window in each.windows]
    vectors, top_k = samples.merge(windows, QUERIES_MAX, np.random.default_rng(SEED))
    different = len(np.unique(vectors, axis=0))
    if different < DIFFERENT_MIN:
        note = f"Only {different} different live queries were sampled in the last {HOURS} hours"
        return Found(None, f"{note}; {DIFFERENT_MIN} are needed.", ignored)
    asked = {"median": int(np.median(top_k)), "max": int(top_k.max())}
    return Found(vectors, _told(len(vectors), windows, replicas=len(own)), ignored, asked)


def _read(order: dict[str, Any]) -> tuple[list[Samples], list[str]]:
    """The samples of this service, without windows that have to be forgotten, and what is wrong with other files."""
    found: list[Samples] = []
    ignored: list[str] = []
    now = time.time()
    for path in map(Path, order["files"]):
        try:
            own = _own(path, order)
        except FileNotFoundError:
            continue  # It was deleted since the folder was looked at.
        except SamplesError as error:
            ignored.append(error.message)
            continue
        windows = tuple(window for window in own.windows if window.is_fresh(now))
        found += [replace(own, windows=windows)] if windows else []
    return found, ignored


def _own(path: Path, order: dict[str, Any]) -> Samples:
    """Raises SamplesError, FileNotFoundError."""
    read = samples.read(path)
    if (read.tenant, read.service) != (order["tenant"], order["service"]):
        raise SamplesError("samples.foreign", f"{path.name} is of another service ({read.tenant}/{read.service}).")
    return read


def _of_another_space(read: Sequence[Samples], space: Space) -> str:
    """What the newest of them differs in."""
    theirs, ours = asdict(max(read, key=_newest).space), asdict(space)
    differs = [f"{name} {theirs[name]!r}, not {ours[name]!r}" for name in ours if theirs[name] != ours[name]]
    return f"Live queries were sampled where this version is not at home: {'; '.join(differs)}."


def _newest(read: Samples) -> float:
    return max(window.began_at for window in read.windows)


def _told(kept: int, windows: Sequence[Window], *, replicas: int) -> str:
    seen, since = sum(window.seen for window in windows), min(window.began_at for window in windows)
    hours = (time.time() - since) / 3600
    return f"{kept:,} of {seen:,} live queries of the last {hours:.1f} hours, sampled by replicas: {replicas}."
