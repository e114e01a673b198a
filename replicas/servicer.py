"""The replica's edge: protobuf in, protobuf out. Work runs in a few threads, so that the loop is always free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import grpc
import psutil
import structlog
from google.protobuf.message_factory import GetMessageClass

from recallpb.internal.v1 import documents_pb2, replica_pb2
from recallpb.v1 import recall_pb2
from replicas import orders
from replicas.answer import answer
from replicas.audits import Auditor
from replicas.checks import QueryLimits
from replicas.client import STATUS_TRAILER
from replicas.errors import AnswerTooLarge, InternalError, NotServed, ReplicaError
from replicas.identity import Identity
from replicas.items import get_items
from replicas.loaded import LoadedVersion
from replicas.queries import Answer, Outcome, Query
from replicas.settings import MIB, HostSettings
from replicas.wire import ResponseWriter, error_message, items_message, read_query, status_code, status_message

log = structlog.get_logger()

SERVICE = replica_pb2.DESCRIPTOR.services_by_name["ReplicaService"]
# Of the message limit, what errors and framing may take.
MESSAGE_SPARE_BYTES = MIB // 2
WARM, CHECK, AUDIT = documents_pb2.Order.WARM, documents_pb2.Order.CHECK, documents_pb2.Order.AUDIT

Context = grpc.aio.ServicerContext[Any, Any]
Result = TypeVar("Result")
Method = Callable[[Any, Context], Awaitable[Any]]


class ReplicaServicer:
    """Answers for one loaded version."""

    def __init__(self, loaded: LoadedVersion, identity: Identity, settings: HostSettings) -> None:
        self._loaded = loaded
        self._identity = identity
        self._writer = ResponseWriter(loaded, identity.replica_id)
        self._answer_bytes_max = settings.replica_answer_bytes_max - MESSAGE_SPARE_BYTES
        self._limits = QueryLimits(
            top_k_max=settings.replica_top_k_max,
            ef_max=settings.replica_ef_max,
            vectors_max=settings.replica_vectors_max,
            exclude_ids_max=settings.replica_exclude_ids_max,
        )
        self._auditor = Auditor(loaded, self._limits)
        self._answering = ThreadPoolExecutor(settings.answer_threads, thread_name_prefix="answer")
        # Orders are long and wait for each other, never in the way of answers.
        self._ordered = ThreadPoolExecutor(1, thread_name_prefix="order")
        self._process = psutil.Process()
        self._under_way = 0
        self._last_call_at = time.monotonic()

    @property
    def quiet_seconds(self) -> float:
        """How long no call has been under way."""
        return 0.0 if self._under_way else time.monotonic() - self._last_call_at

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around each call, so that the host knows when it may end."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._last_call_at = time.monotonic()

    async def answer(self, request: replica_pb2.AnswerRequest, context: Context) -> replica_pb2.AnswerResponse:
        """One answer for each request, in order; one query's error is its own. Another version refuses the call."""
        arrived = time.monotonic()
        version = self._loaded.schema.version
        if request.version != version:
            message = f"version {request.version} was asked and version {version} is loaded"
            raise NotServed("VERSION_NOT_LOADED", message)
        count = len(request.requests)
        if len(request.deadlines_ms) not in (0, count) or len(request.queued_us) not in (0, count):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "deadlines_ms and queued_us need one entry a request")
        return await self._run(self._answering, lambda: self._answer(request, arrived))

    async def get_items(self, request: recall_pb2.GetItemsRequest, _: Context) -> recall_pb2.GetItemsResponse:
        """Items by id."""
        return await self._run(self._answering, lambda: self._get_items(request))

    async def describe(self, _: replica_pb2.DescribeRequest, __: Context) -> replica_pb2.DescribeResponse:
        """Who this is; answered from the loop, so that it also says that the loop lives."""
        schema = self._loaded.schema
        return replica_pb2.DescribeResponse(
            replica_id=self._identity.replica_id,
            tenant=schema.tenant,
            service=schema.service,
            version=schema.version,
            items=schema.items,
            searchable_items=schema.searchable_items,
            rss_bytes=self._process.memory_info().rss,
            pid=self._identity.pid,
            manifest_sha256=self._identity.manifest_sha256,
        )

    async def execute(self, request: documents_pb2.Order, context: Context) -> documents_pb2.OrderResult:
        """Do one order; that it could not be done well is a result too."""
        perform = {WARM: self._warm, CHECK: self._check, AUDIT: self._audit}.get(request.kind)
        if perform is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"order kind {request.kind} is not known here")
        # An audit waits in the line that callers' queries wait in, and not behind a warm-up.
        pool = self._answering if request.kind == AUDIT else self._ordered
        return await self._run(pool, lambda: perform(request.order_id))

    def warm_up(self) -> None:
        """Before the first call. What cannot be warmed up serves all the same; CHECK says how it answers."""
        try:
            result = orders.warm(
                self._loaded,
                self._limits,
                round_queries_max=orders.START_ROUND_QUERIES_MAX,
                seconds_max=orders.START_SECONDS_MAX,
            )
        except ReplicaError:
            log.exception("not_warmed_up")
            return
        log.info("warmed_up", queries=result.queries, p99_ms=round(result.p99_ms, 3), error=result.error)

    def close(self) -> None:
        """Let the threads end; the process is about to."""
        self._answering.shutdown(wait=True)
        self._ordered.shutdown(wait=False, cancel_futures=True)

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def _answer(self, request: replica_pb2.AnswerRequest, arrived: float) -> replica_pb2.AnswerResponse:
        outcomes = self._outcomes(self._read(request, arrived))
        return replica_pb2.AnswerResponse(answers=self._write(outcomes))

    def _read(self, request: replica_pb2.AnswerRequest, arrived: float) -> list[Query | ReplicaError]:
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

    def _outcomes(self, read: list[Query | ReplicaError]) -> list[Outcome]:
        answers = iter(answer(self._loaded, [query for query in read if isinstance(query, Query)], self._limits))
        return [next(answers) if isinstance(query, Query) else query for query in read]

    def _write(self, outcomes: list[Outcome]) -> list[replica_pb2.Answer]:
        responses = iter(self._writer.write([outcome for outcome in outcomes if isinstance(outcome, Answer)]))
        answers: list[replica_pb2.Answer] = []
        bytes_left = self._answer_bytes_max
        for outcome in outcomes:
            result = next(responses) if isinstance(outcome, Answer) else outcome
            if isinstance(result, bytes) and len(result) > bytes_left:
                result = AnswerTooLarge(self._answer_bytes_max)
            if isinstance(result, bytes):
                bytes_left -= len(result)
                answers.append(replica_pb2.Answer(response=result))
            else:
                answers.append(replica_pb2.Answer(error=error_message(result)))
        return answers

    def _get_items(self, request: recall_pb2.GetItemsRequest) -> recall_pb2.GetItemsResponse:
        items = get_items(
            self._loaded,
            ids=request.items.ids,
            text_ids=request.items.text_ids,
            return_attributes=list(request.return_attributes),
            return_vectors=request.return_vectors,
            limits=self._limits,
        )
        return items_message(items, self._loaded)

    def _warm(self, order_id: str) -> documents_pb2.OrderResult:
        result = orders.warm(self._loaded, self._limits)
        return documents_pb2.OrderResult(
            order_id=order_id,
            ok=result.ok,
            error=result.error,
            p50_ms=result.p50_ms,
            p99_ms=result.p99_ms,
            queries=result.queries,
            version=self._loaded.schema.version,
            items=self._loaded.schema.searchable_items,
        )

    def _check(self, order_id: str) -> documents_pb2.OrderResult:
        result = orders.check(self._loaded)
        return documents_pb2.OrderResult(
            order_id=order_id,
            ok=result.ok,
            error=result.error,
            agreement=result.agreement,
            agreement_min=orders.CHECK_AGREEMENT_MIN,
            version=result.version,
            items=result.items,
            rows_sampled=result.rows_sampled,
            rows_found=result.rows_found,
        )

    def _audit(self, order_id: str) -> documents_pb2.OrderResult:
        result = self._auditor.audit()
        return documents_pb2.OrderResult(
            order_id=order_id,
            ok=result.ok,
            error=result.error,
            p50_ms=result.p50_ms,
            p99_ms=result.p99_ms,
            queries=result.queries,
            agreement=result.agreement,
            version=self._loaded.schema.version,
            items=self._loaded.searcher.count,
        )


def handler(servicer: ReplicaServicer) -> grpc.GenericRpcHandler:
    """The service's methods; a method of the proto that is missing here fails at start."""
    implementations: dict[str, Method] = {
        "Answer": servicer.answer,
        "GetItems": servicer.get_items,
        "Describe": servicer.describe,
        "Execute": servicer.execute,
    }
    methods = {
        method.name: grpc.unary_unary_rpc_method_handler(
            _guarded(servicer, implementations[method.name]),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
        for method in SERVICE.methods
    }
    return grpc.method_handlers_generic_handler(SERVICE.full_name, methods)


def _guarded(servicer: ReplicaServicer, method: Method) -> Method:
    """Errors leave as google.rpc.Status with reason and field; unknown ones never with their text."""

    async def call(request: Any, context: Context) -> Any:
        try:
            with servicer.call():
                return await method(request, context)
        except grpc.aio.AbortError:
            raise
        except ReplicaError as error:
            await _abort(context, error)
        except Exception:
            log.exception("call_failed", method=method.__name__)
            await _abort(context, InternalError())

    return call


async def _abort(context: Context, error: ReplicaError) -> NoReturn:
    details = (STATUS_TRAILER, status_message(error).SerializeToString())
    await context.abort(status_code(error), error.message, trailing_metadata=(details,))
