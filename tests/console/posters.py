"""Alice's service `posters` for pages that ask it: two versions that were live, a candidate, and who answers."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import grpc

from catalog.models import Service
from recallpb.v1 import recall_pb2
from tenants.models import Tenant
from tests.client.scripted import refuse
from tests.factories import make_service
from tests.support.history import activated, made_version, refreshed

TITLES = ("The Third Man", "Laura", "Gilda", "Double Indemnity", "The Big Sleep", "Out of the Past", "Detour")
# Rows of TITLES, best first, as each version ranks them.
ANSWERS = {1: (0, 1, 2, 3, 4), 2: (1, 0, 2, 5, 6), 3: (2, 1, 0, 6, 5)}
LIVE = 2
ADDRESS = "/t/films/s/posters/playground/"
INPUTS = [
    {"name": "watched", "type": "int64", "max_length": 20},
    {"name": "age", "type": "float32"},
    {"name": "is_new", "type": "bool"},
]
SCHEMA = {
    "dimension": 4,
    "attributes": [
        {"name": "poster", "type": "string", "display": "image"},
        {"name": "title", "type": "string"},
        {"name": "year", "type": "int64"},
    ],
    "query_model": {"vectors": 2, "inputs": INPUTS},
}


def make_posters(films: Tenant) -> Service:
    """Version 2 is live, version 1 was; version 3 waits for somebody to let it."""
    service = make_service(films, "posters", schema=SCHEMA, limits={"allow_exact": True})
    for number in (1, 2, 3):
        version = made_version(service, items=1_000_000 + number, model_version=f"tower-{number}")
        if number < 3:
            activated(version)
    return refreshed(service)


def answer(request: Any, context: grpc.ServicerContext) -> Any:
    """As a gateway would, of versions whose items are the rows of TITLES."""
    if "!" in request.filter:
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "the filter ends where a value should stand",
               reason="FILTER_SYNTAX", field="filter")  # fmt: skip
    version = request.require_version or LIVE
    # Exact search knows better in one place.
    rows = (*ANSWERS[version][:4], 3 if version != 1 else 6) if request.params.exact else ANSWERS[version]
    rows = rows[: request.top_k]
    attributes = [
        recall_pb2.AttributeColumn(name="poster", strings=texts([picture(row) for row in rows])),
        recall_pb2.AttributeColumn(name="title", strings=texts([TITLES[row] for row in rows])),
        recall_pb2.AttributeColumn(
            name="year",
            ints=recall_pb2.Int64List(values=[1944 + row for row in rows]),
            present=[row != 2 for row in rows],
        ),
    ]
    return recall_pb2.RecallResponse(
        version=version,
        ids=[1_000 + row for row in rows],
        scores=[0.97 - (0.05 if request.params.exact else 0.08) * rank for rank in range(len(rows))],
        found_by=[rank % 2 for rank in range(len(rows))] if len(request.vectors.vectors) > 1 else [],
        attributes=attributes,
        shortfall=max(0, request.top_k - len(rows)),
        timings=recall_pb2.Timings(queue_us=40, model_us=310, search_us=520, merge_us=35, total_us=990),
        replica=f"r{version}",
        model_version=f"tower-{version}",
    )


def texts(values: list[str]) -> recall_pb2.StringList:
    return recall_pb2.StringList(values=values)


def picture(row: int) -> str:
    """A PNG of one colour, 24 x 36, as an address that holds it."""
    colour = bytes((40 + 30 * row, 90, 200 - 25 * row))
    lines = (b"\0" + colour * 24) * 36
    header = struct.pack(">IIBBBBB", 24, 36, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
