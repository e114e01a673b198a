"""What can go wrong in an engine. Reasons are stable; texts may change.

    EngineError                 engine.failed           anything below
    ├── UnknownEngine           engine.unknown          no engine has this name
    ├── ParamsInvalid           engine.bad_params       a field of the spec, the parameters or the build order; user's
    ├── QueryInvalid            engine.bad_query        wrong shape, not finite, top_k or effort out of bounds; user's
    ├── VectorsInvalid          engine.bad_vectors      wrong shape or type, empty, not finite; user's
    ├── IndexMismatch           engine.index_mismatch   the index files belong to other vectors or another spec
    ├── IndexUnreadable         engine.index_unreadable the index files are missing, cut or damaged
    ├── OutOfMemory             engine.out_of_memory    the memory cap was reached
    ├── BuildFailed             engine.build_failed     the engine's library gave up
    ├── EngineUnavailable       engine.unavailable      what the engine asks over the network does not answer just now
    ├── DeadlineOver            engine.deadline_over    nobody waits any more for what a search still had to do
    └── SearcherClosed          engine.closed           a search after close()

`owner` says who can mend it: `user` (another drop, another parameter) or `platform`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Owner = Literal["user", "platform"]


class EngineError(Exception):
    """An engine refused or failed; `field` names what was wrong in the input, where something was."""

    reason: ClassVar[str] = "engine.failed"
    owner: ClassVar[Owner] = "platform"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def to_dict(self) -> dict[str, str]:
        """The error as it travels in a JSON line: reason, owner, message, and field where there is one."""
        error = {"reason": self.reason, "owner": self.owner, "message": self.message}
        return error | {"field": self.field} if self.field else error


class UnknownEngine(EngineError):
    """No engine has this name."""

    reason = "engine.unknown"
    owner = "user"


class ParamsInvalid(EngineError):
    """A field of the spec, of the engine's parameters or of the build order is not allowed."""

    reason = "engine.bad_params"
    owner = "user"


class QueryInvalid(EngineError):
    """A query has the wrong shape, is not finite, or asks for more than the engine allows."""

    reason = "engine.bad_query"
    owner = "user"


class VectorsInvalid(EngineError):
    """The vectors to index have the wrong shape or type, are none, or are not finite: then `row` is the first such."""

    reason = "engine.bad_vectors"
    owner = "user"

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message if row is None else f"row {row} {message}")
        self._what = message
        self.row = row

    def moved(self, rows: int) -> VectorsInvalid:
        """The same of vectors that have `rows` more before these."""
        return VectorsInvalid(self._what, row=None if self.row is None else self.row + rows)


class IndexMismatch(EngineError):
    """The index files belong to other vectors or to another spec."""

    reason = "engine.index_mismatch"


class IndexUnreadable(EngineError):
    """The index files are missing, cut or damaged."""

    reason = "engine.index_unreadable"


class OutOfMemory(EngineError):
    """The build reached its memory cap."""

    reason = "engine.out_of_memory"


class BuildFailed(EngineError):
    """The engine's library gave up while it built."""

    reason = "engine.build_failed"


class EngineUnavailable(EngineError):
    """A server that the engine asks is not there, or does not answer in time; the same may succeed later."""

    reason = "engine.unavailable"


class DeadlineOver(EngineError):
    """What is left to do of a search takes long, and from now on nobody waits for it (`SearchEffort.until`)."""

    reason = "engine.deadline_over"


class SearcherClosed(EngineError):
    """A search came after close()."""

    reason = "engine.closed"
