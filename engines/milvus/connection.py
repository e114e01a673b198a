"""One connection with a bounded pool of threads to each instance."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from engines.errors import EngineError, EngineUnavailable
from engines.milvus.instances import SETTING, Address, SettingWrong, configured
from engines.milvus.library import MilvusClient, MilvusException

# An instance that refuses is known at once; one that is silent is waited for so long.
CONNECT_SECONDS_MAX: Final = 5.0
# A question about a collection, and a search: as long as the longest call of a caller.
CALL_SECONDS_MAX: Final = 10.0
# An instance that is back is found within so long; gRPC's own pauses grow to two minutes.
RECONNECT_MS: Final = 200
RECONNECT_MS_MAX: Final = 1_000
CHANNEL_OPTIONS: Final = {
    "grpc.initial_reconnect_backoff_ms": RECONNECT_MS,
    "grpc.min_reconnect_backoff_ms": RECONNECT_MS,
    "grpc.max_reconnect_backoff_ms": RECONNECT_MS_MAX,
}
# Of this process at one instance; who comes later waits, and its waiting counts.
CALLS_AT_ONCE_MAX: Final = 16

# What the client says when it cannot connect, and what a server says that is overloaded, or not ready yet.
UNAVAILABLE_CODES: Final = frozenset({2, 4, 8, 503})
UNAVAILABLE_STATUSES: Final = frozenset(
    {
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "CANCELLED",
    }
)
NO_SUCH_COLLECTION: Final = 100
NOT_LOADED_CODES: Final = frozenset({101, 103})

# As the transport writes it, whatever name was configured.
RESOLVED_ADDRESS: Final = re.compile(r"ipv[46]:[^\s,;]+")
ITS_ADDRESS: Final = "its address"

AnswerT = TypeVar("AnswerT")


class CollectionGone(EngineError):
    """The instance has no collection of this name any more."""


class NotLoaded(EngineUnavailable):
    """The instance has the collection and not in its memory, as after a restart, or when somebody released it."""


class Instance:
    """One instance as this process knows it; made once, used by any number of threads, never closed."""

    def __init__(self, address: Address) -> None:
        self.name: Final = address.name
        self._address = address
        self._client: MilvusClient | None = None
        self._connecting = threading.Lock()
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE_MAX, f"milvus-{address.name}")

    def ask(self, call: Callable[[MilvusClient], AnswerT], seconds: float = CALL_SECONDS_MAX) -> AnswerT:
        """What `call` gives, by one of the pool's threads; `call` itself tells the library the same time limit.

        Raises EngineUnavailable, also after `seconds` without an answer, CollectionGone, EngineError.
        """
        client = self._connected()
        pending = self._pool.submit(call, client)
        try:
            with self.as_ours():
                return pending.result(seconds)
        except TimeoutError as error:
            pending.cancel()
            raise EngineUnavailable(f"the instance {self.name} did not answer within {seconds:g} s") from error

    def begin(self, call: Callable[[MilvusClient], None]) -> Future[None]:
        """Has one of the pool's threads do it, and does not wait. Raises EngineUnavailable when nobody is there."""
        client = self._connected()

        def work() -> None:
            with self.as_ours():
                call(client)

        return self._pool.submit(work)

    def tell(self, call: Callable[[MilvusClient], AnswerT]) -> AnswerT:
        """The same in this thread and without a limit of ours, for what a build has done: it may take hours."""
        client = self._connected()
        with self.as_ours():
            return call(client)

    def _connected(self) -> MilvusClient:
        with self._connecting:
            if self._client is None:
                where = self._address
                with self.as_ours():
                    self._client = MilvusClient(
                        where.uri,
                        token=where.token,
                        db_name=where.database,
                        timeout=CONNECT_SECONDS_MAX,
                        grpc_options=CHANNEL_OPTIONS,
                    )
            return self._client

    @contextmanager
    def as_ours(self) -> Iterator[None]:
        """Raises the library's errors as ours."""
        try:
            yield
        except Exception as error:
            # Beside its own errors the library lets those of its transport through, which engines do not know.
            if not isinstance(error, MilvusException) and not callable(getattr(error, "code", None)):
                raise
            raise self._translated(error) from error

    def _translated(self, error: Any) -> EngineError:
        """Of an error of the library, whose code is the server's or its transport's, or of the transport itself."""
        code = error.code() if callable(error.code) else error.code
        # Tenants read it, on builds and in alerts; where the instance is stands in a setting of administrators.
        told = RESOLVED_ADDRESS.sub(ITS_ADDRESS, _text(error).replace(self._address.place, ITS_ADDRESS))
        said = f"the instance {self.name}: {told}"
        if code == NO_SUCH_COLLECTION:
            return CollectionGone(said)
        if code in NOT_LOADED_CODES:
            return NotLoaded(said)
        passing = code in UNAVAILABLE_CODES or getattr(code, "name", "") in UNAVAILABLE_STATUSES
        return EngineUnavailable(said) if passing or getattr(error, "retriable", False) else EngineError(said)


def _text(error: Any) -> str:
    """One line; some errors have no text."""
    text = error.message if isinstance(error, MilvusException) else error.details()
    return " ".join(str(text or type(error).__name__).split())


_instances: dict[Address, Instance] = {}
_making = threading.Lock()


def instance(name: str) -> Instance:
    """The instance of this name. Raises EngineUnavailable when this process's setting does not name it."""
    try:
        address = configured().get(name)
    except SettingWrong as error:
        raise EngineUnavailable(str(error), field="engine") from error
    if address is None:
        message = f"the instance {name}, where the index is, is not one of {SETTING} in this process"
        raise EngineUnavailable(message, field="engine")
    with _making:
        if address not in _instances:
            _instances[address] = Instance(address)
        return _instances[address]
