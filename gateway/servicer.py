"""The public RPCs: convert in, one call of the data plane, convert out. Errors become statuses in one place.

Requests and answers are bytes here: the handlers are registered without serialisers, so that a replica's answer
passes through as it came.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
import grpc.aio
import structlog

from gateway import convert, statuses
from gateway.auth import Caller
from gateway.dataplane import DataPlane
from gateway.errors import GatewayError, InternalError, InvalidRequest
from gateway.key_uses import KeyUses
from gateway.metrics import Metrics
from gateway.queries import Call
from gateway.strides import Striding

log = structlog.get_logger(__name__)

SERVICE_NAME = "recallpb.v1.RecallService"
OK = "OK"
CANCELLED = "CANCELLED"
# The field that says how much is asked for.
AMOUNT_FIELDS = {"Recall": "top_k", "BatchRecall": "requests", "GetItems": "items"}
NOBODY = Caller("", "", "read", 0.0)

Context = grpc.aio.ServicerContext[bytes, bytes]
Answerer = Callable[[Call, bytes], Awaitable[bytes]]


class Servicer:
    """One method per RPC of RecallService."""

    def __init__(
        self,
        dataplane: DataPlane,
        striding: Striding,
        metrics: Metrics,
        key_uses: KeyUses,
        *,
        deadline_seconds_default: float,
        deadline_seconds_max: float,
        answer_bytes_max: int,
    ) -> None:
        self._dataplane = dataplane
        self._striding = striding
        self._metrics = metrics
        self._key_uses = key_uses
        self._deadline_seconds_default = deadline_seconds_default
        self._deadline_seconds_max = deadline_seconds_max
        self._answer_bytes_max = answer_bytes_max

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        answerers: dict[str, Answerer] = {
            "Recall": self.recall,
            "BatchRecall": self.batch_recall,
            "GetItems": self.get_items,
            "CountItems": self.count_items,
            "GetServiceInfo": self.get_service_info,
        }
        handlers: dict[str, Any] = {
            rpc: grpc.unary_unary_rpc_method_handler(self._at_the_edge(rpc, answer))
            for rpc, answer in answerers.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)

    def recall(self, call: Call, payload: bytes) -> Awaitable[bytes]:
        return self._dataplane.recall(call, convert.query_in(payload))

    async def batch_recall(self, call: Call, payload: bytes) -> bytes:
        batch = await self._striding.run(convert.batch_in(payload))
        outcomes = await self._dataplane.batch_recall(call, batch)
        request_id = _logged(error for error in outcomes if isinstance(error, InternalError))
        return await self._striding.run(convert.batch_out(outcomes, request_id))

    def get_items(self, call: Call, payload: bytes) -> Awaitable[bytes]:
        return self._dataplane.get_items(call, convert.items_in(payload))

    async def count_items(self, call: Call, payload: bytes) -> bytes:
        return convert.count_out(self._dataplane.count_items(call, convert.count_in(payload)))

    async def get_service_info(self, call: Call, payload: bytes) -> bytes:
        return convert.info_out(self._dataplane.service_info(call, convert.info_in(payload)))

    def _at_the_edge(self, rpc: str, answer: Answerer) -> Any:
        """The handler of one RPC: reads metadata and deadline, counts, and turns every error into a status."""

        async def handle(payload: bytes, context: Context) -> bytes:
            started = time.monotonic()
            call = Call(NOBODY, started + self._seconds_left(context))
            code = CANCELLED
            try:
                call.caller = self._dataplane.authenticate(_credential(context))
                reply = await answer(call, payload)
                self._check_size(rpc, reply)
                code = OK
            except GatewayError as error:
                code = statuses.GRPC_CODES[statuses.code_of(error)].name
                await _abort(context, error)
            except Exception as error:  # noqa: BLE001 (whatever it is, the caller hears INTERNAL and the log hears all)
                code = grpc.StatusCode.INTERNAL.name
                await _abort(context, InternalError(repr(error)))
            finally:
                self._metrics.ended(rpc, call.service, code, time.monotonic() - started, call.queries)
                if call.service and call.caller.key:
                    self._key_uses.note(call.caller.key, call.service, context.peer)
            return reply

        return handle

    def _check_size(self, rpc: str, reply: bytes) -> None:
        """Raises InvalidRequest for what gRPC would refuse to send: without a reason, after the call was counted."""
        if len(reply) > self._answer_bytes_max:
            message = f"the answer takes {len(reply)} bytes; at most {self._answer_bytes_max} can be sent"
            raise InvalidRequest(AMOUNT_FIELDS.get(rpc, ""), "ANSWER_TOO_LARGE", message)

    def _seconds_left(self, context: Context) -> float:
        """The caller's deadline, cut to the longest allowed; the default when the caller gave none."""
        left = context.time_remaining()
        return self._deadline_seconds_default if left is None else min(left, self._deadline_seconds_max)


def _credential(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization" and isinstance(value, str):
            return value
    return ""


def _logged(errors: Iterable[InternalError]) -> str:
    """A request id under which the log has each cause once; empty when there are none. Callers never hear a cause."""
    causes = {error.cause: error for error in errors}
    request_id = uuid.uuid4().hex if causes else ""
    for cause, error in causes.items():
        log.error("call.internal", request_id=request_id, cause=cause, exc_info=error.__context__)
    return request_id


async def _abort(context: Context, error: GatewayError) -> None:
    """Ends the call with the error's status. Only the log hears the cause of an internal error."""
    request_id = _logged([error] if isinstance(error, InternalError) else [])
    status = statuses.status_of(error, request_id)
    trailer = (statuses.STATUS_TRAILER, status.SerializeToString())
    await context.abort(statuses.GRPC_CODES[status.code], status.message, (trailer,))
