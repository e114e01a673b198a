"""Documents in Redis: one hash of stamps, one of payloads, written together and only if newer.

A reader compares stamps every `POLL_SECONDS` (10,000 of them are one small HGETALL) and fetches the payloads
that changed. An absent document changes nothing, so an empty or restarted Redis is no outage: removal is a
tombstone, and the sweeper writes again from the rows.

    recall:routes:stamps       field `tenant/service` -> `epoch:generation`
    recall:routes:docs         field `tenant/service` -> recallpb.internal.v1.Route
    recall:placements:stamps   field `node`           -> `epoch:generation`
    recall:placements:docs     field `node`           -> recallpb.internal.v1.Placements
    recall:node:{node}         recallpb.internal.v1.NodeReport, with a time to live
    recall:gateway:{gateway}   recallpb.internal.v1.GatewayReport, with a time to live (its lease)
    recall:hints               pub/sub channel: `routes tenant/service` or `placements node`; only a hint
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis
import redis.asyncio

from recallpb.internal.v1 import documents_pb2

POLL_SECONDS = 1.0
NODE_REPORT_TTL_SECONDS = 10
GATEWAY_LEASE_SECONDS = 6
HINTS_CHANNEL = "recall:hints"
FETCH_FIELDS_MAX = 500

NODE_REPORT_PREFIX = "recall:node:"
GATEWAY_REPORT_PREFIX = "recall:gateway:"


class Stamp(NamedTuple):
    """Order of a document: (epoch, generation), compared left to right."""

    epoch: int
    generation: int

    def text(self) -> str:
        return f"{self.epoch}:{self.generation}"

    def to_message(self) -> documents_pb2.Stamp:
        return documents_pb2.Stamp(epoch=self.epoch, generation=self.generation)

    @classmethod
    def parse(cls, text: bytes | str) -> Stamp:
        epoch, generation = (text.decode() if isinstance(text, bytes) else text).split(":")
        return cls(int(epoch), int(generation))

    @classmethod
    def of(cls, message: documents_pb2.Stamp) -> Stamp:
        return cls(message.epoch, message.generation)


ZERO = Stamp(0, 0)
STAMP = re.compile(rb"\d{1,18}:\d{1,18}")


class Collection(NamedTuple):
    """A kind of document and the two hashes that hold it."""

    name: str

    @property
    def stamps_key(self) -> str:
        return f"recall:{self.name}:stamps"

    @property
    def docs_key(self) -> str:
        return f"recall:{self.name}:docs"


ROUTES = Collection("routes")
PLACEMENTS = Collection("placements")

# Stamp and payload change in one script, so that no reader meets a new stamp with an old payload.
PUT_IF_NEWER = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then
  local epoch, generation = string.match(held, '^(%d+):(%d+)$')
  epoch, generation = tonumber(epoch), tonumber(generation)
  local new_epoch, new_generation = tonumber(ARGV[2]), tonumber(ARGV[3])
  if epoch and (new_epoch < epoch or (new_epoch == epoch and new_generation <= generation)) then
    return 0
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
redis.call('PUBLISH', KEYS[3], ARGV[5])
return 1
"""


class DocumentWriter:
    """The control plane's side: writes documents, reads reports. Blocking.

    Raises redis.RedisError when Redis is away; callers treat a failed write as a lost hint, because the
    sweeper writes every document again from its row.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._put = client.register_script(PUT_IF_NEWER)

    def put_if_newer(self, collection: Collection, field: str, stamp: Stamp, payload: bytes) -> bool:
        """True when this write won; False when a document at least as new was there."""
        keys = [collection.stamps_key, collection.docs_key, HINTS_CHANNEL]
        hint = f"{collection.name} {field}"
        return bool(self._put(keys=keys, args=[field, stamp.epoch, stamp.generation, payload, hint]))

    def stamps(self, collection: Collection) -> dict[str, Stamp]:
        raw: Any = self._redis.hgetall(collection.stamps_key)
        return _parse_stamps(raw)

    def reporting_nodes(self) -> list[str]:
        """The names of the nodes that were heard lately."""
        return self._names(NODE_REPORT_PREFIX)

    def node_reports(self, nodes: Sequence[str]) -> dict[str, documents_pb2.NodeReport]:
        """By name; nodes that were not heard lately are left out."""
        payloads = self._reports(NODE_REPORT_PREFIX, nodes)
        return {name: documents_pb2.NodeReport.FromString(data) for name, data in payloads.items()}

    def gateway_reports(self) -> dict[str, documents_pb2.GatewayReport]:
        payloads = self._reports(GATEWAY_REPORT_PREFIX, self._names(GATEWAY_REPORT_PREFIX))
        return {name: documents_pb2.GatewayReport.FromString(data) for name, data in payloads.items()}

    def _names(self, prefix: str) -> list[str]:
        keys: list[bytes] = list(self._redis.scan_iter(match=f"{prefix}*", count=FETCH_FIELDS_MAX))
        return [key.decode().removeprefix(prefix) for key in keys]

    def _reports(self, prefix: str, names: Sequence[str]) -> dict[str, bytes]:
        if not names:
            return {}
        values: Any = self._redis.mget([f"{prefix}{name}" for name in names])
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}


class DocumentReader:
    """The data plane's side: reads documents, writes reports with a time to live. asyncio."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def stamps(self, collection: Collection) -> dict[str, Stamp]:
        raw: Any = self._redis.hgetall(collection.stamps_key)
        return _parse_stamps(await raw)

    async def documents(self, collection: Collection, fields: list[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for start in range(0, len(fields), FETCH_FIELDS_MAX):
            page = fields[start : start + FETCH_FIELDS_MAX]
            raw: Any = self._redis.hmget(collection.docs_key, page)
            values = await raw
            found.update((field, value) for field, value in zip(page, values, strict=True) if value is not None)
        return found

    async def report_node(self, report: documents_pb2.NodeReport) -> None:
        key = NODE_REPORT_PREFIX + report.node
        await self._redis.set(key, report.SerializeToString(), ex=NODE_REPORT_TTL_SECONDS)

    async def report_gateway(self, report: documents_pb2.GatewayReport) -> None:
        key = GATEWAY_REPORT_PREFIX + report.gateway
        await self._redis.set(key, report.SerializeToString(), ex=GATEWAY_LEASE_SECONDS)


def _parse_stamps(raw: dict[bytes, bytes]) -> dict[str, Stamp]:
    """Without those that are none: who holds a document keeps it, and the control plane writes it again."""
    return {field.decode(): Stamp.parse(value) for field, value in raw.items() if STAMP.fullmatch(value)}
