"""A small replica with exact search: what a gateway needs behind it, without engines and artifacts.

In a test's own loop: `await ExactReplica(...).start()`. As a process that may be killed:
`python -m tests.support.exact_replica --address unix:/x.sock --version 1`. Version v holds the ids v * 1,000,000 + row,
so that an answer's items tell which version gave it.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import numpy as np
from google.rpc import code_pb2

from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2

IDS_PER_VERSION = 1_000_000


def ids_of_version(version: int, rows: int) -> range:
    return range(version * IDS_PER_VERSION, version * IDS_PER_VERSION + rows)


class ExactReplica:
    """`delay_seconds` is how long each batch takes beside the search; `batches` are the sizes that came."""

    def __init__(
        self, *, address: str, replica_id: str = "r1", version: int = 1, rows: int = 100, dimension: int = 8
    ) -> None:
        self.address = address
        self.replica_id = replica_id
        self.version = version
        self.delay_seconds = 0.0
        self.batches: list[int] = []
        self.at_once = 0
        self.at_once_max = 0
        self.vectors = np.random.default_rng(version).normal(size=(rows, dimension)).astype(np.float32)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._converse, self.address.removeprefix("unix:") + ".q")

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            for writer in self._writers:
                writer.close()
            self._server = None

    async def run(self) -> None:
        await self.start()
        assert self._server
        await self._server.serve_forever()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        writer.write(bytes(4))
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                question = replica_pb2.Question.FromString(await reader.readexactly(size))
                reply = (await self._reply(question)).SerializeToString()
                writer.write(len(reply).to_bytes(4, "big") + reply)
        except asyncio.IncompleteReadError:
            writer.close()
        finally:
            self._writers.discard(writer)

    async def _reply(self, question: replica_pb2.Question) -> replica_pb2.Reply:
        if question.HasField("answer"):
            return await self._answers(question.answer)
        return self._items(recall_pb2.GetItemsRequest.FromString(question.get_items))

    async def _answers(self, request: replica_pb2.AnswerRequest) -> replica_pb2.Reply:
        if request.version != self.version:
            return _refusal(code_pb2.FAILED_PRECONDITION, "VERSION_NOT_LOADED")
        self.batches.append(len(request.requests))
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            await asyncio.sleep(self.delay_seconds)
            answers = [self._answer(raw) for raw in request.requests]
            return replica_pb2.Reply(answer=replica_pb2.AnswerResponse(answers=answers))
        finally:
            self.at_once -= 1

    def _items(self, request: recall_pb2.GetItemsRequest) -> replica_pb2.Reply:
        if request.items.text_ids:
            return _refusal(code_pb2.INVALID_ARGUMENT, "ID_TYPE_WRONG", field="items.text_ids")
        known = ids_of_version(self.version, len(self.vectors))
        found = [number for number in request.items.ids if number in known]
        missing = [number for number in request.items.ids if number not in known]
        response = recall_pb2.GetItemsResponse(
            version=self.version, ids=found, missing=recall_pb2.ItemIds(ids=missing) if missing else None
        )
        return replica_pb2.Reply(items=response.SerializeToString())

    def _answer(self, raw: bytes) -> replica_pb2.Answer:
        request = recall_pb2.RecallRequest.FromString(raw)
        query = np.frombuffer(request.vectors.vectors[0].packed, dtype="<f4")
        if not np.isfinite(query).all():
            error = recall_pb2.RecallError(
                code=code_pb2.INVALID_ARGUMENT, reason="NOT_FINITE", message="NaN", field="vectors.vectors[0]"
            )
            return replica_pb2.Answer(error=error)
        scores = self.vectors @ query
        best = np.argsort(-scores, kind="stable")[: request.top_k]
        response = recall_pb2.RecallResponse(
            version=self.version,
            ids=(best + self.version * IDS_PER_VERSION).tolist(),
            scores=scores[best].tolist(),
            replica=self.replica_id,
        )
        return replica_pb2.Answer(response=response.SerializeToString())


def _refusal(code: int, reason: str, *, field: str = "") -> replica_pb2.Reply:
    error = recall_pb2.RecallError(code=code, reason=reason, message=reason.lower().replace("_", " "), field=field)
    return replica_pb2.Reply(error=error)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--replica-id", default="r1")
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--load-seconds", type=float, default=0.0)
    arguments = parser.parse_args()
    time.sleep(arguments.load_seconds)
    replica = ExactReplica(address=arguments.address, replica_id=arguments.replica_id, version=arguments.version)
    asyncio.run(replica.run())


if __name__ == "__main__":
    main()
