"""One connection with a bounded pool of threads to each instance, and a circuit that opens when it does not answer."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final, TypeVar

from engines.errors import EngineError, EngineUnavailable
from engines.milvus.circuit import Circuit
from engines.milvus.errors import CollectionGone as CollectionGone
from engines.milvus.errors import InstanceAway, InstanceSilent, as_ours
from engines.milvus.errors import NotLoaded as NotLoaded
from engines.milvus.instances import SETTING, Address, SettingWrong, configured
from engines.milvus.library import MilvusClient
from engines.milvus.waiting import Waiting

# An instance that refuses is known at once; one that is silent is waited for so long.
CONNECT_SECONDS_MAX: Final = 5.0
# A question about a collection, and a search: as long as the longest call of a caller.
CALL_SECONDS_MAX: Final = 10.0
# The library takes nothing below as a limit.
LIBRARY_SECONDS_MIN: Final = 0.001
BEAT_SECONDS_MAX: Final = 1.0
# A call that ended sooner without an answer had a short deadline, and tells nothing of the instance.
SILENCE_SECONDS_MIN: Final = 0.25
# What a build does may take hours, unless the instance has not even a heartbeat for so long.
SILENCE_SECONDS_MAX: Final = 300.0
SILENCE_POLL_SECONDS: Final = 1.0
# An instance that is away is asked the same again after so long.
AGAIN_SECONDS: Final = 0.5
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

AnswerT = TypeVar("AnswerT")


class InstanceUnknown(EngineUnavailable):
    """This process's setting does not name the instance, or not any more."""


class Instance:
    """One instance as this process knows it; made once, used by any number of threads, never closed."""

    def __init__(self, address: Address) -> None:
        self.name: Final = address.name
        self._address = address
        self._client: MilvusClient | None = None
        self._connecting = threading.Lock()
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE_MAX, f"milvus-{address.name}")
        self._circuit = Circuit(address.name, self._beat)
        self._waiting = Waiting(address.name)
        # Calls that nobody waits for any more, and that have a thread yet.
        self._given_up: set[Future[Any]] = set()

    def connect(self) -> None:
        """Tells it nothing. Raises EngineUnavailable."""
        self._connected()

    def ask(self, call: Callable[[MilvusClient], AnswerT], until: float | None = None) -> AnswerT:
        """What `call` gives, by one of the pool's threads, waited for `until` a moment of time.monotonic(). The library
        is told the same by `call`, so that the thread comes back.

        Raises EngineUnavailable, at once while the circuit is open, and as soon as it opens; CollectionGone,
        EngineError.
        """
        until = time.monotonic() + CALL_SECONDS_MAX if until is None else until
        client = self._connected()
        opening = self._circuit.closed()
        if len(self._given_up) >= CALLS_AT_ONCE_MAX:
            raise EngineUnavailable(f"the instance {self.name} has left {CALLS_AT_ONCE_MAX} calls without an answer")
        pending = self._pool.submit(self._heard, call, client)
        either: tuple[Future[Any], ...] = (pending, opening)
        wait(either, max(0.0, until - time.monotonic()), FIRST_COMPLETED)
        if pending.done():
            return pending.result()
        self._give_up(pending)
        self._circuit.closed()
        raise EngineUnavailable(f"the instance {self.name} did not answer in time")

    def begin(self, call: Callable[[MilvusClient], None]) -> Future[None]:
        """Has a thread of its own do it, and does not wait. Raises EngineUnavailable when nobody is there."""
        client = self._connected()
        self._circuit.closed()
        return _in_a_thread(lambda: self._heard(call, client))

    def tell(self, call: Callable[[MilvusClient], AnswerT]) -> AnswerT:
        """The same for what a build has done: it may take hours, and the circuit does not end it. Its log says when
        nothing is heard meanwhile.

        Raises EngineUnavailable, also when the instance has not been heard for SILENCE_SECONDS_MAX.
        """
        client = self._connected()
        pending = _in_a_thread(lambda: self._heard(call, client))
        told = False
        while not wait((pending,), SILENCE_POLL_SECONDS).done:
            silent_seconds = self._circuit.silent_seconds()
            silence = f"the instance {self.name} has not been heard for {silent_seconds:.0f} s"
            if silent_seconds > SILENCE_SECONDS_MAX:
                raise EngineUnavailable(silence)
            told |= self._waiting.lasts(silent_seconds, silence, seconds_max=SILENCE_SECONDS_MAX)
        answer = pending.result()
        if told:
            self._waiting.ends()
        return answer

    def insist(self, work: Callable[[], AnswerT]) -> AnswerT:
        """What `work` gives, which asks the instance for what may be asked twice: again while it is away, or not ready.
        The log of the build says so, and when it goes on.

        Raises EngineUnavailable when it has not been heard, or has refused, for SILENCE_SECONDS_MAX.
        """
        refused_since = math.inf
        while True:
            asked_at = time.monotonic()
            try:
                answer = work()
            except EngineUnavailable as error:
                now = time.monotonic()
                # What was at work for so long before it failed begins to be refused only now.
                refused_since = now if now - asked_at > SILENCE_SECONDS_MAX else min(refused_since, now)
                waited_seconds = max(now - refused_since, self._circuit.silent_seconds())
                if waited_seconds > SILENCE_SECONDS_MAX:
                    raise
                self._waiting.lasts(waited_seconds, error.message, seconds_max=SILENCE_SECONDS_MAX)
            else:
                self._waiting.ends()
                return answer
            time.sleep(AGAIN_SECONDS)

    def _connected(self) -> MilvusClient:
        with self._connecting:
            if self._client is None:
                where = self._address
                with as_ours(where):
                    self._client = MilvusClient(
                        where.uri,
                        token=where.token,
                        db_name=where.database,
                        timeout=CONNECT_SECONDS_MAX,
                        grpc_options=CHANNEL_OPTIONS,
                    )
                self._circuit.start()
            return self._client

    def _heard(self, call: Callable[[MilvusClient], AnswerT], client: MilvusClient) -> AnswerT:
        """What `call` gives; the circuit hears whether the instance is there. A refusal is an answer, too."""
        started = time.monotonic()
        try:
            with as_ours(self._address):
                answer = call(client)
        except InstanceAway as error:
            long_enough = time.monotonic() - started >= SILENCE_SECONDS_MIN
            if long_enough or not isinstance(error, InstanceSilent):
                self._circuit.failed(error.message)
            raise
        except EngineError:
            self._circuit.answered()
            raise
        self._circuit.answered()
        return answer

    def _beat(self) -> None:
        self._heard(lambda client: client.get_server_version(timeout=BEAT_SECONDS_MAX), self._connected())

    def _give_up(self, pending: Future[AnswerT]) -> None:
        if not pending.cancel():
            self._given_up.add(pending)
            pending.add_done_callback(self._given_up.discard)


def seconds_until(moment: float) -> float:
    """As a limit of the library's."""
    return max(LIBRARY_SECONDS_MIN, moment - time.monotonic())


def _in_a_thread(work: Callable[[], AnswerT]) -> Future[AnswerT]:
    """In one that no process waits for when it ends."""
    done: Future[AnswerT] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the result raises it
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


_instances: dict[Address, Instance] = {}
_making = threading.Lock()


def instance(name: str) -> Instance:
    """The instance of this name. Raises InstanceUnknown, and EngineUnavailable when the setting is wrong."""
    try:
        address = configured().get(name)
    except SettingWrong as error:
        raise EngineUnavailable(str(error), field="engine") from error
    if address is None:
        message = f"the instance {name}, where the index is, is not one of {SETTING} in this process"
        raise InstanceUnknown(message, field="engine")
    with _making:
        if address not in _instances:
            _instances[address] = Instance(address)
        return _instances[address]
