"""The hand-made part of protobuf's wire format says what protobuf says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway import convert
from gateway.errors import GatewayError, InvalidRequest, ReplicaLost
from gateway.wire import length_delimited, varint
from recallpb.internal.v1 import documents_pb2
from recallpb.v1 import recall_pb2


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
    read = recall_pb2.BatchRecallResponse.FromString(convert.batch_out(outcomes))
    assert [result.response for result in read.results[:3]] == answers
    assert [(result.error.code, result.error.reason, result.error.field) for result in read.results[3:]] == [
        (3, "TOP_K_OUT_OF_RANGE", "top_k"),
        (14, "REPLICA_LOST", ""),
    ]
