"""What a replica does for a call, whichever way it came: messages in, messages out. Blocking; from any thread."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas.answer import Observer, answer
from replicas.checks import QueryLimits
from replicas.errors import AnswerTooLarge, DeadlinePassed, InvalidQuery, NotServed, ReplicaError, ReplyFull
from replicas.items import get_items
from replicas.loaded import LoadedVersion
from replicas.places import Lane, Places
from replicas.queries import Answer, Outcome, Query
from replicas.sampling import Sampler
from replicas.settings import MIB, HostSettings
from replicas.wire import ResponseWriter, error_message, items_message, read_query

# Of the message limit, what errors and framing may take.
MESSAGE_SPARE_BYTES = MIB // 2
# Who waited in line for less has hardly hung up meanwhile, and asking the kernel costs each call some microseconds.
WAIT_SECONDS_UNHEARD = 0.001


class CallerGone(Exception):
    """Nobody is there any more to hear the answer."""


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a call came, until when it is worth an answer (both of time.monotonic()), whether it is awaited yet, and the
    lane it waits in.

    `is_callers`: it came by a gateway, so that its queries are callers' and not the platform's own.
    """

    at: float
    deadline: float = math.inf
    is_awaited: Callable[[], bool] = _always
    lane: Lane = Lane.QUICK
    is_callers: bool = False


class UnderWay:
    """`with` it around each call until its reply was sent, so that the host knows when it may end.

    A class, and so is the place below: a generator costs each call more.
    """

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._calls = 0
        self._last_at = time.monotonic()

    @property
    def quiet_seconds(self) -> float:
        """How long no call has been under way."""
        with self._counting:
            return 0.0 if self._calls else time.monotonic() - self._last_at

    def __enter__(self) -> None:
        with self._counting:
            self._calls += 1

    def __exit__(self, *_: object) -> None:
        with self._counting:
            self._calls -= 1
            self._last_at = time.monotonic()


class _Place:
    """One of its lane's few places, for as long as the `with` lasts; whoever comes waits for one.

    Entering raises DeadlinePassed, CallerGone, and takes none then.
    """

    __slots__ = ("_arrival", "_places")

    def __init__(self, places: Places, arrival: Arrival) -> None:
        self._places = places
        self._arrival = arrival

    def __enter__(self) -> None:
        came = time.monotonic()
        seconds_left = self._arrival.deadline - came
        if seconds_left <= 0 or not self._places.take(self._arrival.lane, seconds_left):
            raise DeadlinePassed
        is_awaited = False
        try:
            is_awaited = time.monotonic() - came <= WAIT_SECONDS_UNHEARD or self._arrival.is_awaited()
        finally:
            if not is_awaited:
                self._places.give_back(self._arrival.lane)
        if not is_awaited:
            raise CallerGone

    def __exit__(self, *_: object) -> None:
        self._places.give_back(self._arrival.lane)


class Calls:
    """Of one loaded version. Of each lane at most `answer_threads` are worked on at once; the others wait in line."""

    def __init__(
        self, loaded: LoadedVersion, replica_id: str, settings: HostSettings, sampler: Sampler | None = None
    ) -> None:
        self._sample = sampler.offer if sampler is not None else None
        self.limits = QueryLimits(
            top_k_max=settings.replica_top_k_max,
            ef_max=settings.replica_ef_max,
            vectors_max=settings.replica_vectors_max,
            exclude_ids_max=settings.replica_exclude_ids_max,
            query_items_max=settings.query_items_max,
        )
        self._loaded = loaded
        self._writer = ResponseWriter(loaded, replica_id)
        self._answer_bytes_max = settings.replica_answer_bytes_max - MESSAGE_SPARE_BYTES
        self._places = Places(settings.answer_threads)
        self.under_way = UnderWay()

    def place(self, arrival: Arrival) -> _Place:
        """`with` it around the work on a call. Raises DeadlinePassed, CallerGone."""
        return _Place(self._places, arrival)

    def answer(
        self, request: replica_pb2.AnswerRequest, arrival: Arrival, response: replica_pb2.AnswerResponse
    ) -> None:
        """Writes one answer for each request, in order, to `response`; one query's error is its own. ReplyFull befalls
        none before one of the reply has been answered.

        Raises NotServed when another version is asked, InvalidQuery when the request's columns differ in length, and
        as `place`.
        """
        version = self._loaded.schema.version
        if request.version != version:
            message = f"version {request.version} was asked and version {version} is loaded"
            raise NotServed("VERSION_NOT_LOADED", message)
        count = len(request.requests)
        if len(request.deadlines_ms) not in (0, count) or len(request.queued_us) not in (0, count):
            message = "deadlines_ms and queued_us need one entry a request, or none"
            raise InvalidQuery("", "COLUMNS_DIFFER", message)
        with self.place(arrival):
            outcomes = self._outcomes(_read(request, arrival.at), self._sample if arrival.is_callers else None)
            self._write(outcomes, response)

    def get_items(self, request: recall_pb2.GetItemsRequest, arrival: Arrival) -> bytes:
        """Items by id: a serialised GetItemsResponse. Raises InvalidQuery, AnswerTooLarge, and as `place`."""
        with self.place(arrival):
            items = get_items(
                self._loaded,
                ids=request.items.ids,
                text_ids=request.items.text_ids,
                return_attributes=list(request.return_attributes),
                return_vectors=request.return_vectors,
                limits=self.limits,
            )
            response = items_message(items, self._loaded).SerializeToString()
        if len(response) > self._answer_bytes_max:
            raise AnswerTooLarge("items", self._answer_bytes_max)
        return response

    def _outcomes(self, read: list[Query | ReplicaError], observe: Observer | None) -> list[Outcome]:
        queries = [query for query in read if isinstance(query, Query)]
        answers = iter(answer(self._loaded, queries, self.limits, observe))
        return [next(answers) if isinstance(query, Query) else query for query in read]

    def _write(self, outcomes: list[Outcome], response: replica_pb2.AnswerResponse) -> None:
        responses = iter(self._writer.write([outcome for outcome in outcomes if isinstance(outcome, Answer)]))
        bytes_left = self._answer_bytes_max
        for outcome in outcomes:
            result = next(responses) if isinstance(outcome, Answer) else outcome
            if isinstance(result, bytes) and len(result) > bytes_left:
                result = self._no_room(result)
            if isinstance(result, bytes):
                bytes_left -= len(result)
                response.answers.add(response=result)
            else:
                response.answers.add(error=error_message(result))

    def _no_room(self, response: bytes) -> ReplicaError:
        too_large = len(response) > self._answer_bytes_max
        return AnswerTooLarge("top_k", self._answer_bytes_max) if too_large else ReplyFull()


def _read(request: replica_pb2.AnswerRequest, arrived: float) -> list[Query | ReplicaError]:
    count = len(request.requests)
    deadlines_ms = request.deadlines_ms or [0] * count
    queued_us = request.queued_us or [0] * count
    read: list[Query | ReplicaError] = []
    for raw, deadline, queued in zip(request.requests, deadlines_ms, queued_us, strict=True):
        try:
            read.append(read_query(raw, arrived=arrived, deadline_ms=deadline, queued_us=queued))
        except ReplicaError as error:
            read.append(error)
    return read
