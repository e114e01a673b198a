"""`recall query` and `recall bench` over real gRPC, against a server that answers by script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from cli import errors
from cli.commands.query import read_vector
from cli.errors import CliError
from recallpb.v1 import recall_pb2
from tests.cli.conftest import Recall
from tests.client.scripted import refuse, serving


def answers(request: Any, context: grpc.ServicerContext) -> Any:
    if isinstance(request, recall_pb2.GetServiceInfoRequest):
        schema = recall_pb2.Schema(id_type="int64", dimension=3, metric="ip")
        return recall_pb2.GetServiceInfoResponse(
            service=request.service, schema=schema, limits=recall_pb2.Limits(max_top_k=100, allow_exact=True)
        )
    ids = [3, 4] if request.params.exact else [3, 1]
    vectors = [recall_pb2.Vector(packed=np.full(3, number, dtype="<f4").tobytes()) for number in ids]
    genre = recall_pb2.AttributeColumn(name="genre", strings=recall_pb2.StringList(values=["noir", "[bold]western"]))
    return recall_pb2.RecallResponse(
        version=7,
        ids=ids,
        scores=[0.5, 0.25],
        attributes=[genre] if request.return_attributes else [],
        vectors=vectors if request.return_vectors else [],
    )


@pytest.fixture
def asking(recall: Recall, clean_environment: pytest.MonkeyPatch) -> Any:
    def ask(handler: Any, *arguments: str) -> Any:
        with serving(handler) as gateway:
            clean_environment.setenv("RECALL_GATEWAY", gateway.address)
            clean_environment.setenv("RECALL_API_KEY", "rk_alicekey_secret")
            return recall(*arguments), gateway.requests

    return ask


def test_a_query_by_numbers_gives_a_table_of_items(asking: Any) -> None:
    ran, requests = asking(answers, "query", "films/movies", "--vector", "1,2,3", "-k", "2", "-a", "genre")
    assert ran.code == 0
    assert "noir" in ran.out
    assert "[bold]western" in ran.out, "what comes from data is no markup"
    assert "version 7" in ran.err
    assert requests[0].service == "tenants/films/services/movies"
    assert requests[0].top_k == 2


def test_a_query_for_programs_is_one_line_of_json(asking: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(2, 3, dtype=np.float32))
    ran, requests = asking(answers, "query", "films/movies", "--vector", str(tmp_path / "v.npy"), "--json")
    assert ran.out.count("\n") == 1
    assert ran.data["ids"] == [3, 1]
    assert ran.data["scores"] == [0.5, 0.25]
    assert len(requests[0].vectors.vectors) == 2


def test_the_gateway_s_refusal_names_field_and_exit_code(asking: Any) -> None:
    def refuses(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "3 is not 64", reason="DIMENSION_MISMATCH", field="vectors")

    ran, _ = asking(refuses, "query", "films/movies", "--vector", "1,2,3")
    assert ran.code == errors.EXIT_USAGE
    assert ran.error.field == "vectors"
    assert ran.error.reason == "DIMENSION_MISMATCH"
    assert ran.error.line() == "vectors: 3 is not 64"


def test_a_query_needs_a_key(recall: Recall) -> None:
    ran = recall("query", "films/movies", "--vector", "1,2")
    assert ran.code == errors.EXIT_DENIED
    assert ran.error is not None
    assert "RECALL_API_KEY" in ran.error.remedy


def test_vectors_are_read_from_numbers_json_and_npy_and_never_unpickled(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text("[[1, 2], [3, 4]]")
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)

    assert read_vector("1, 2.5").tolist() == [1, 2.5]
    assert read_vector("[1, 2]").tolist() == [1, 2]
    assert read_vector(str(tmp_path / "v.json")).shape == (2, 2)
    for wrong in ("one,two", str(tmp_path / "pickled.npy"), str(tmp_path / "missing.json"), "[[1],[2,3]]"):
        with pytest.raises(CliError, match="is no vector") as caught:
            read_vector(wrong)
        assert caught.value.exit_code == errors.EXIT_USAGE


def test_a_bench_says_latencies_failures_and_recall(asking: Any) -> None:
    ran, _ = asking(answers, "bench", "films/movies", "--qps", "50", "--seconds", "1", "-k", "2", "--json")
    assert ran.code == 0
    found = ran.data
    assert 25 <= found["sent"] <= 50
    assert found["answered"] == found["sent"]
    assert found["failed"] == 0
    assert found["recall"] == 0.5
    assert found["versions"] == {"7": found["sent"]}
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99"] <= found["latency_ms"]["max"]


def test_a_bench_for_people_names_every_figure(asking: Any) -> None:
    ran, _ = asking(answers, "bench", "films/movies", "--qps", "20", "--seconds", "0.3", "-k", "2")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [
        *("answered", "failed", "p50", "p90", "p99", "p99.9", "max", "versions", "recall@2"),
    ]


def test_a_bench_with_failed_calls_ends_with_an_error(asking: Any) -> None:
    def overloaded(request: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(request, recall_pb2.RecallRequest) and not request.return_vectors:
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", reason="QPS_EXCEEDED")
        answer = answers(request, context)
        if isinstance(answer, recall_pb2.GetServiceInfoResponse):
            answer.limits.allow_exact = False
        return answer

    ran, _ = asking(overloaded, "bench", "films/movies", "--qps", "20", "--seconds", "0.5", "--json")
    assert ran.code == errors.EXIT_FAILED
    assert ran.data["failures"] == {"QPS_EXCEEDED": ran.data["failed"]}
    assert ran.data["recall"] is None
