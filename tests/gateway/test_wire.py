"""The hand-made part of protobuf's wire format says what protobuf says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import convert
from gateway.errors import GatewayError, InvalidRequest, ReplicaLost
from gateway.wire import length_delimited, varint
from recallpb.internal.v1 import documents_pb2
from recallpb.v1 import recall_pb2
from tests.gateway.messages import messages
from tests.gateway.strides import at_once


@given(st.lists(st.text(max_size=300)))
def test_payloads_become_fields_of_the_message_around_them(texts: list[str]) -> None:
    wire = b"".join(length_delimited(2, text.encode()) for text in texts)
    assert list(documents_pb2.RouteSnapshot.FromString(wire).revoked_prefixes) == texts


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_numbers_are_written_as_protobuf_writes_them(value: int) -> None:
    assert b"\x08" + varint(value) == recall_pb2.RecallResponse(version=value).SerializeToString()


def test_a_batch_of_answers_and_errors_is_what_protobuf_would_have_written() -> None:
    answers = [recall_pb2.RecallResponse(version=3, ids=range(count)) for count in (1, 20, 500)]
    errors: list[GatewayError] = [InvalidRequest("top_k", "TOP_K_OUT_OF_RANGE", "it is 0"), ReplicaLost()]
    outcomes = [*(answer.SerializeToString() for answer in answers), *errors]
    read = recall_pb2.BatchRecallResponse.FromString(at_once(convert.batch_out(outcomes)))
    assert [result.response for result in read.results[:3]] == answers
    assert [(result.error.code, result.error.reason, result.error.field) for result in read.results[3:]] == [
        (3, "TOP_K_OUT_OF_RANGE", "top_k"),
        (14, "REPLICA_LOST", ""),
    ]


@given(st.lists(messages(recall_pb2.RecallRequest.DESCRIPTOR, {}), max_size=5), st.text(max_size=20))
def test_a_batch_is_read_as_protobuf_reads_it(requests: list[recall_pb2.RecallRequest], service: str) -> None:
    asked = recall_pb2.BatchRecallRequest(service=service, requests=requests)
    batch = at_once(convert.batch_in(asked.SerializeToString()))
    read = recall_pb2.BatchRecallRequest(service=batch.service)
    for query in batch.queries:
        read.requests.add().ParseFromString(query.payload)
    # Messages with a NaN in them are never equal.
    assert read.SerializeToString(deterministic=True) == asked.SerializeToString(deterministic=True)
    assert [query.top_k for query in batch.queries] == [request.top_k for request in requests]


@pytest.mark.parametrize("wire", [b"\xff\xff", b"\x12\x02\xff\xff", b"\x0a\x01\xff"])
def test_a_batch_with_an_unreadable_part_is_unreadable(wire: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        at_once(convert.batch_in(wire))
    assert refused.value.reason == "REQUEST_UNREADABLE"
