"""A reply has a limit; whose answer finds no room in it is told so, and told apart from one that never finds any."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas.calls import Arrival, Calls
from replicas.loaded import load
from replicas.settings import MIB, HostSettings
from tests.support.artifacts import MadeArtifact, make_artifact

DIMENSION = 512
# With 2,048 bytes for each vector and half a MiB for all answers: 100 fill two fifths of a reply, 250 are one byte of
# anything else too many for any.
HALF_REPLY, TOO_MANY = 120, 260


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    return make_artifact(tmp_path_factory.mktemp("wide"), items=300, dimension=DIMENSION)


@pytest.fixture
def calls(made: MadeArtifact, tmp_path: Path) -> Calls:
    loaded = load(made.path, made.manifest_sha256, search_threads=1)
    return Calls(loaded, "r1", HostSettings(home=tmp_path, replica_answer_bytes_max=MIB))


def answers_to(calls: Calls, made: MadeArtifact, *top_ks: int) -> list[replica_pb2.Answer]:
    vector = recall_pb2.Vector(packed=made.queries[0].astype("<f4").tobytes())
    asked = [
        recall_pb2.RecallRequest(
            vectors=recall_pb2.VectorQuery(vectors=[vector]), top_k=top_k, return_vectors=True
        ).SerializeToString()
        for top_k in top_ks
    ]
    request = replica_pb2.AnswerRequest(requests=asked, version=made.version)
    response = replica_pb2.AnswerResponse()
    calls.answer(request, Arrival(time.monotonic()), response)
    return list(response.answers)


def reasons(answers: list[replica_pb2.Answer]) -> list[str]:
    return [answer.error.reason for answer in answers]


def test_what_finds_no_room_beside_others_may_ask_again_and_what_follows_is_answered(
    calls: Calls, made: MadeArtifact
) -> None:
    answers = answers_to(calls, made, HALF_REPLY, HALF_REPLY, HALF_REPLY, 5)
    assert reasons(answers) == ["", "", "REPLY_FULL", ""]
    assert reasons(answers_to(calls, made, HALF_REPLY)) == [""], "asked again it has its room"


def test_what_fits_no_reply_is_the_callers_to_change_and_takes_nobodys_room(calls: Calls, made: MadeArtifact) -> None:
    answers = answers_to(calls, made, TOO_MANY, HALF_REPLY, HALF_REPLY)
    assert reasons(answers) == ["ANSWER_TOO_LARGE", "", ""]
    assert (answers[0].error.code, answers[0].error.field) == (3, "top_k")
