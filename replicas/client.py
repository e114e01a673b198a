"""The agent's words with one replica process."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message_factory import GetMessageClass

from recallpb.internal.v1 import documents_pb2, replica_pb2
from replicas.framing import GREETING, frames_path

SERVICE = replica_pb2.DESCRIPTOR.services_by_name["ReplicaService"]
CHANNEL_OPTIONS = (
    # A fresh connection of its own: a shared one could still be waiting out the predecessor's death.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


# In it a replica says what is wrong; what breaks on the way, and gRPC itself, leave it out.
STATUS_TRAILER = "grpc-status-details-bin"


def is_the_replicas_own(error: grpc.aio.AioRpcError) -> bool:
    """Whether the replica itself has said so, rather than the connection to it."""
    return any(name == STATUS_TRAILER for name, _ in error.trailing_metadata() or ())


class ReplicaClient:
    """Describe and Execute, each with a time limit. Both raise grpc.aio.AioRpcError.

    `greets` looks through the door that gateways use, which the two others do not.
    """

    def __init__(self, address: str) -> None:
        self._frames_path = frames_path(address)
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._describe = self._method("Describe")
        self._execute = self._method("Execute")

    async def describe(self, seconds_max: float) -> replica_pb2.DescribeResponse:
        request = replica_pb2.DescribeRequest()
        described: replica_pb2.DescribeResponse = await self._describe(request, timeout=seconds_max)
        return described

    async def execute(self, order: documents_pb2.Order, seconds_max: float) -> documents_pb2.OrderResult:
        result: documents_pb2.OrderResult = await self._execute(order, timeout=seconds_max)
        return result

    async def greets(self, seconds_max: float) -> bool:
        """Whether the replica takes a connection for frames and greets on it in time.

        One that takes it and closes it has connections enough: it is busy and alive.
        """
        try:
            async with asyncio.timeout(seconds_max):
                return await self._greeting() in (GREETING, b"")
        except (OSError, TimeoutError):
            return False

    async def _greeting(self) -> bytes:
        """The first bytes on a connection of its own; none when it is closed at once. Raises OSError."""
        reader, writer = await asyncio.open_unix_connection(self._frames_path)
        try:
            return await reader.readexactly(len(GREETING))
        except asyncio.IncompleteReadError as error:
            return error.partial
        finally:
            writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    def _method(self, name: str) -> Any:
        method = SERVICE.methods_by_name[name]
        return self._channel.unary_unary(
            f"/{SERVICE.full_name}/{name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
