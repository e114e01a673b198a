"""What is written by hand must be what protobuf would have written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recallpb.v1 import recall_pb2
from replicas.errors import (
    AnswerTooLarge,
    DeadlinePassed,
    InternalError,
    InvalidQuery,
    NotServed,
    ReplicaError,
    ReplyFull,
)
from replicas.loaded import LoadedVersion, load
from replicas.queries import Answer
from replicas.wire import ResponseWriter, error_message
from tests.support.artifacts import make_artifact

DIMENSION = 40


@pytest.fixture(scope="module", params=[False, True], ids=["int ids", "text ids"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    folder = tmp_path_factory.mktemp("made")
    made = make_artifact(folder, items=300, dimension=DIMENSION, text_ids=request.param, first_id=2**40)
    return load(made.path, made.manifest_sha256, search_threads=1)


@given(sizes=st.lists(st.integers(0, 300), max_size=4), return_vectors=st.booleans(), shortfall=st.integers(0, 9))
def test_a_response_is_what_protobuf_would_write(
    loaded: LoadedVersion, sizes: list[int], return_vectors: bool, shortfall: int
) -> None:
    rng = np.random.default_rng(len(sizes))
    answers = [
        Answer(
            rows=rng.permutation(300)[:size].astype(np.int64),
            scores=rng.normal(size=size).astype(np.float32),
            shortfall=shortfall,
            found_by=rng.integers(0, 3, size).astype(np.int32) if shortfall else None,
        )
        for size in sizes
    ]
    for answer in answers:
        answer.vectors = loaded.vectors[answer.rows] if return_vectors else None

    written = ResponseWriter(loaded, "r1").write(answers)

    for answer, raw in zip(answers, written, strict=True):
        assert isinstance(raw, bytes)
        ids = loaded.ids_of(answer.rows)
        expected = recall_pb2.RecallResponse(
            version=1,
            ids=[] if loaded.schema.text_ids else ids,
            text_ids=ids if loaded.schema.text_ids else [],
            scores=answer.scores,
            found_by=[] if answer.found_by is None else answer.found_by,
            vectors=[recall_pb2.Vector(packed=v.tobytes()) for v in loaded.vectors[answer.rows] if return_vectors],
            shortfall=shortfall,
            replica="r1",
            model_version="mind-7",
        )
        assert recall_pb2.RecallResponse.FromString(raw) == expected


def test_an_answer_that_cannot_be_written_is_its_own_error(tmp_path: Path) -> None:
    made = make_artifact(tmp_path, items=20)
    loaded = load(made.path, made.manifest_sha256, search_threads=1)
    good = Answer(np.array([1, 2]), np.array([1.0, 0.5], dtype=np.float32), 0)
    broken = Answer(np.array([3]), np.array([1.0], dtype=np.float32), shortfall=2**40)

    written = ResponseWriter(loaded, "r1").write([good, broken, good])

    assert isinstance(written[1], InternalError)
    assert written[0] == written[2]
    assert list(recall_pb2.RecallResponse.FromString(written[0]).ids) == [made.ids[1], made.ids[2]]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidQuery("top_k", "TOP_K_OUT_OF_RANGE", "no"), 3),
        (NotServed("VERSION_NOT_LOADED", "no"), 9),
        (DeadlinePassed(), 4),
        (AnswerTooLarge("top_k", 1), 3),
        (ReplyFull(), 8),
        (InternalError(), 13),
    ],
)
def test_each_error_has_its_code(error: ReplicaError, code: int) -> None:
    message = error_message(error)

    assert (message.code, message.reason, message.field) == (code, error.reason, error.field)
    assert message.message


def test_no_error_is_without_a_code() -> None:
    from replicas.wire import CODES

    assert {kind for kind, _ in CODES} == set(ReplicaError.__subclasses__())
