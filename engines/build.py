"""The build child: `python -m engines.build SPEC.json` builds one index in a process of its own, on a leash: it gives
way to others (`nice`), keeps to some cores (`cpus`, `spec.threads`) and to a cap of memory, and dies with its parent.

Prints JSON lines on standard output: {"rows_done": n, "rows": N} about once a second and at the end, {"note": sentence}
where people are to be told something, then {"done": true, "seconds": s, "peak_rss_bytes": b}, or {"error": {"reason",
"owner", "message"}} and an exit code that is not 0. A child that ends without either was killed, or its engine crashed.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines import notes, registry
from engines.base import Float32, IndexSpec
from engines.errors import BuildFailed, EngineError, OutOfMemory, ParamsInvalid, VectorsInvalid
from engines.leash import (
    be_nice,
    cap_memory,
    die_with_parent,
    keep_to_cpus,
    lift_memory_cap,
    peak_memory_bytes,
    watch_memory,
)
from failpoints import failpoint

PROGRESS_SECONDS = 1.0
EXIT_FAILED = 1
EXIT_USAGE = 2


class BuildOrder(BaseModel):
    """What the child is told: the content of SPEC.json."""

    model_config = ConfigDict(extra="forbid")

    engine: str
    spec: IndexSpec
    vectors: Path  # npy, float32 [N, d]
    rows: int = Field(ge=1)  # The first rows of `vectors`, the searchable ones.
    out_dir: Path
    nice: int = Field(default=19, ge=0, le=19)
    cpus: int | None = Field(default=None, ge=1)  # Cores that it may use; None: all.
    memory_bytes_max: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0)  # Goes before the spec's own.
    parent_pid: int | None = None  # Lets a child notice that its parent died before the child could ask to die with it.


def main(arguments: list[str]) -> int:
    """Carry out the order in the file; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m engines.build SPEC.json\n")
        return EXIT_USAGE
    started = time.monotonic()
    try:
        build(read_order(Path(arguments[0])))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent shall read a reason instead of a silence
        lift_memory_cap()
        traceback.print_exc()
        say({"error": as_engine_error(error).to_dict()})
        return EXIT_FAILED
    say({"done": True, "seconds": round(time.monotonic() - started, 3), "peak_rss_bytes": peak_memory_bytes()})
    return 0


def build(order: BuildOrder) -> None:
    """Build under the order's limits. Raises EngineError, MemoryError."""
    die_with_parent(order.parent_pid)
    failpoint("build_child.started")
    be_nice(order.nice)
    if order.cpus is not None:
        keep_to_cpus(order.cpus)
    builder = registry.builder(order.engine)
    vectors = open_vectors(order.vectors, order.rows)
    order.out_dir.mkdir(parents=True, exist_ok=True)
    if order.memory_bytes_max is not None:
        watch_memory(order.memory_bytes_max, end_for_memory)
        cap_memory(order.memory_bytes_max)
    spec = order.spec if order.seed is None else replace(order.spec, seed=order.seed)
    notes.listen(lambda sentence: say({"note": sentence}))
    builder.build(spec, vectors, order.out_dir, Progress(order.rows, order.out_dir))
    failpoint("build_child.before_answer")


def read_order(path: Path) -> BuildOrder:
    """Raises ParamsInvalid."""
    try:
        return BuildOrder.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ParamsInvalid(f"the build order {path} cannot be followed: {error}", field="order") from error


def open_vectors(path: Path, rows: int) -> Float32:
    """The first `rows` of the array, mapped. Raises VectorsInvalid."""
    try:
        vectors: Float32 = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise VectorsInvalid(f"{path.name}: {error}") from error
    if len(vectors) < rows:
        raise VectorsInvalid(f"{path.name} has {len(vectors)} rows, the order says {rows}")
    return vectors[:rows]


class Progress:
    """Says how many rows are done, at most once in PROGRESS_SECONDS, and always at the end; at first, where that is."""

    def __init__(self, rows: int, index_dir: Path) -> None:
        self._rows = rows
        self._index_dir = index_dir
        self._is_placed = False
        self._said_at = 0.0

    def __call__(self, rows_done: int) -> None:
        if not self._is_placed:
            self._is_placed = True
            self._say_places()
        now = time.monotonic()
        if rows_done < self._rows and now - self._said_at < PROGRESS_SECONDS:
            return
        self._said_at = now
        say({"rows_done": rows_done, "rows": self._rows})

    def _say_places(self) -> None:
        """A build of hours is to be found at its server while it goes on; an index that is its files is nowhere."""
        if names := registry.place_names(self._index_dir):
            notes.tell(f"The index is made at {', '.join(names)}.")


def as_engine_error(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("the build does not fit into the memory that it may use")
    return BuildFailed(f"{type(error).__name__}: {error}")


def end_for_memory(held_bytes: int) -> NoReturn:
    """Ends the process from the watching thread: the thread that builds is inside a library and hears nothing."""
    say({"error": OutOfMemory(f"the build held {held_bytes} bytes, more than it may").to_dict()})
    os._exit(EXIT_FAILED)


def say(line: dict[str, object]) -> None:
    """One write for each line, so that two threads' lines cannot mix."""
    os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
