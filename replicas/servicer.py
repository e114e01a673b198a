"""The replica's gRPC edge: protobuf in, protobuf out. Work runs in a few threads, so that the loop is always free.

It is for the agent and for people's tools; gateways' questions come by `frames`, and both end in the same `Calls`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn, TypeVar

import grpc
import psutil
import structlog
from google.protobuf.message_factory import GetMessageClass

from recallpb.internal.v1 import documents_pb2, replica_pb2
from recallpb.v1 import recall_pb2
from replicas import orders
from replicas.audits import Auditor
from replicas.calls import Arrival, Calls, UnderWay
from replicas.client import STATUS_TRAILER
from replicas.errors import InternalError, ReplicaError
from replicas.identity import Identity
from replicas.loaded import LoadedVersion
from replicas.settings import HostSettings
from replicas.wire import status_code, status_message

log = structlog.get_logger()

SERVICE = replica_pb2.DESCRIPTOR.services_by_name["ReplicaService"]
WARM, CHECK, AUDIT = documents_pb2.Order.WARM, documents_pb2.Order.CHECK, documents_pb2.Order.AUDIT

Context = grpc.aio.ServicerContext[Any, Any]
Result = TypeVar("Result")
Method = Callable[[Any, Context], Awaitable[Any]]
Perform = Callable[[str], documents_pb2.OrderResult]


class ReplicaServicer:
    """Answers for one loaded version."""

    def __init__(self, loaded: LoadedVersion, identity: Identity, calls: Calls, settings: HostSettings) -> None:
        self._loaded = loaded
        self._identity = identity
        self._calls = calls
        self._auditor = Auditor(loaded, calls.limits)
        self._answering = ThreadPoolExecutor(settings.answer_threads, thread_name_prefix="answer")
        # Orders are long and wait for each other, never in the way of answers.
        self._ordered = ThreadPoolExecutor(1, thread_name_prefix="order")
        self._process = psutil.Process()

    async def answer(self, request: replica_pb2.AnswerRequest, _: Context) -> replica_pb2.AnswerResponse:
        """One answer for each request, in order; one query's error is its own. Another version refuses the call."""
        arrival, response = Arrival(time.monotonic()), replica_pb2.AnswerResponse()
        await self._run(self._answering, lambda: self._calls.answer(request, arrival, response))
        return response

    async def get_items(self, request: recall_pb2.GetItemsRequest, _: Context) -> recall_pb2.GetItemsResponse:
        """Items by id."""
        arrival = Arrival(time.monotonic())
        return recall_pb2.GetItemsResponse.FromString(
            await self._run(self._answering, lambda: self._calls.get_items(request, arrival))
        )

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
        left = context.time_remaining()
        audit = partial(self._audit, until=math.inf if left is None else time.monotonic() + left)
        performers: dict[int, Perform] = {WARM: self._warm, CHECK: self._check, AUDIT: audit}
        perform = performers.get(request.kind)
        if perform is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"order kind {request.kind} is not known here")
        # An audit waits in the line that callers' queries wait in, and not behind a warm-up.
        pool = self._answering if request.kind == AUDIT else self._ordered
        return await self._run(pool, lambda: perform(request.order_id))

    @property
    def under_way(self) -> UnderWay:
        """`with` it around each call."""
        return self._calls.under_way

    def warm_up(self) -> None:
        """Before the first call. What cannot be warmed up serves all the same; CHECK says how it answers."""
        try:
            result = orders.warm(
                self._loaded,
                self._calls.limits,
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

    def _warm(self, order_id: str) -> documents_pb2.OrderResult:
        result = orders.warm(self._loaded, self._calls.limits)
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

    def _audit(self, order_id: str, until: float) -> documents_pb2.OrderResult:
        try:
            with self._calls.place(Arrival(time.monotonic())):
                result = self._auditor.audit(until)
        except ReplicaError as error:
            # Who hears it is the agent, and not a caller.
            error.message = error.cause or error.message
            raise
        return documents_pb2.OrderResult(
            order_id=order_id,
            ok=result.ok,
            error=result.error,
            p50_ms=result.p50_ms,
            p99_ms=result.p99_ms,
            queries=result.queries,
            agreement=result.agreement,
            version=self._loaded.schema.version,
            items=result.items,
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
            with servicer.under_way:
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
