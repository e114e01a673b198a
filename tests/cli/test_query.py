"""`recall query` and `recall bench` over real gRPC, against a server that answers by script."""

from __future__ import annotations

import socket
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


def test_a_query_by_items_sends_weights_and_tells_what_was_unknown(asking: Any) -> None:
    def knows_one(request: Any, context: grpc.ServicerContext) -> Any:
        answer = answers(request, context)
        if isinstance(request, recall_pb2.RecallRequest):
            answer.coverage.CopyFrom(
                recall_pb2.ItemCoverage(
                    used=recall_pb2.ItemIds(ids=[1]), missing=recall_pb2.ItemIds(ids=[2]), weight_covered=0.75
                )
            )
        return answer

    ran, requests = asking(
        knows_one, "query", "films/movies", "--items", "1,2:0.5", "--exclude", "8, 9", "--filter", "year > 1990"
    )
    assert ran.code == 0
    assert "unknown items: 2; the others hold 75% of the weight" in ran.err
    [sent] = [request for request in requests if isinstance(request, recall_pb2.RecallRequest)]
    assert [(item.id, item.weight) for item in sent.items.items] == [(1, 0.0), (2, 0.5)]
    assert not sent.items.items[0].HasField("weight")
    assert (list(sent.exclude.ids), sent.filter, sent.items.keep_query_items) == ([8, 9], "year > 1990", False)


def test_ids_that_are_texts_stay_texts(asking: Any) -> None:
    def of_texts(request: Any, context: grpc.ServicerContext) -> Any:
        answer = answers(request, context)
        if isinstance(answer, recall_pb2.GetServiceInfoResponse):
            answer.schema.id_type = "string"
        return answer

    ran, requests = asking(of_texts, "query", "films/movies", "--items", "12,film:a:0.5", "--keep-query-items")
    assert ran.code == 0
    assert [(item.text_id, item.weight) for item in requests[-1].items.items] == [("12", 0.0), ("film:a", 0.5)]
    assert requests[-1].items.keep_query_items


def test_times_decay_and_what_becomes_of_unknown_items_travel(asking: Any) -> None:
    decaying = ("--half-life", "604800", "--min-coverage", "0.75")
    _, requests = asking(answers, "query", "films/movies", "--items", "1@1763942400,2:-0.5@1763337600,3", *decaying)
    asked = requests[-1].items
    assert [(item.id, item.weight, item.timestamp_seconds) for item in asked.items] == [
        (1, 0.0, 1763942400),
        (2, -0.5, 1763337600),
        (3, 0.0, 0),
    ]
    assert not asked.items[2].HasField("timestamp_seconds")
    assert (asked.half_life_seconds, asked.on_missing, asked.min_coverage) == (604800, recall_pb2.MIN_COVERAGE, 0.75)
    _, requests = asking(answers, "query", "films/movies", "--items", "1", "--on-missing", "fail")
    assert requests[-1].items.on_missing == recall_pb2.FAIL


def test_vectors_have_weights_and_those_of_the_answer_are_told(asking: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(2, 3, dtype=np.float32))
    question = ("--vector", str(tmp_path / "v.npy"), "--merge", "weighted_sum", "--weights", "1, -0.5")
    ran, requests = asking(answers, "query", "films/movies", *question, "--return-vectors", "--json")
    assert (list(requests[-1].vectors.weights), requests[-1].merge) == ([1.0, -0.5], recall_pb2.WEIGHTED_SUM)
    assert ran.data["vectors"] == [[3.0] * 3, [1.0] * 3]
    ran, _ = asking(answers, "query", "films/movies", *question, "--return-vectors")
    assert "[3, 3, 3]" in ran.out


@pytest.mark.parametrize("given", ['{"age": 31.5, "hist_item": [1, 2]}', "features.json", "-"])
def test_a_query_by_features_takes_json_from_anywhere(
    recall: Recall, clean_environment: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    text = '{"age": 31.5, "hist_item": [1, 2]}'
    (tmp_path / "features.json").write_text(text)
    clean_environment.chdir(tmp_path)
    with serving(answers) as gateway:
        clean_environment.setenv("RECALL_GATEWAY", gateway.address)
        clean_environment.setenv("RECALL_API_KEY", "rk_alicekey_secret")
        ran = recall("query", "films/movies", "--features", given, stdin=text)
    assert ran.code == 0
    sent = gateway.requests[-1].features.features
    assert (list(sent["age"].floats.values), list(sent["hist_item"].ints.values)) == ([31.5], [1, 2])


@pytest.mark.parametrize(
    ("arguments", "field", "said"),
    [
        ((), "vector", "There is nothing to ask by. Give one of --vector, --items, --features."),
        (("--vector", "1,2", "--items", "1"), "vector", "--vector and --items are given"),
        (("--items", "one"), "items", "one is no id; this service's ids are whole numbers."),
        (("--items", "1:."), "items", "1:. has no weight that is a number."),
        (("--items", "1:nan"), "items", "1:nan has no weight that is a number. Write id[:weight][@seconds]"),
        (("--items", "1:0.5:100"), "items", "1:0.5:100 has no weight that is a number."),
        (("--items", "1:0.5@noon"), "items", "1:0.5@noon has no time that is a whole number of seconds since 1970."),
        (("--items", "1", "--on-missing", "pass"), "", "on_missing must be one of skip, fail, min_coverage"),
        (("--items", "1", "--weights", "1"), "", "weights are of several query vectors"),
        (("--vector", "1,2,3", "--half-life", "60"), "half-life", "--half-life is of --items."),
        (("--vector", "1,2,3", "--weights", "1,much"), "weights", "much has no weight that is a number."),
        (("--vector", "1,2,3", "--exclude", "x"), "exclude", "x is no id"),
        (("--features", "[1]"), "features", "holds no features: it is no object."),
        (("--features", "{age"), "features", "Give a JSON object: --features"),
        (("--features", '{"age": {"of": 1}}'), "", "The feature age must hold numbers or texts"),
        (("--items", "99999999999999999999"), "", "out of range"),
        (("--vector", "1,2", "--merge", "avg"), "", "not 'avg'."),
        (("--vector", "[[1],[2,3]]"), "vector", "inhomogeneous part."),
    ],
)
def test_what_cannot_be_asked_is_said_with_its_option(
    asking: Any, arguments: tuple[str, ...], field: str, said: str
) -> None:
    ran, _ = asking(answers, "query", "films/movies", *arguments)
    assert ran.code == errors.EXIT_USAGE
    assert ran.error.field == field
    assert said.lower() in ran.error.line().lower()
    assert ".." not in ran.error.line().replace(" ...", "")


def test_a_trace_tells_where_the_time_went(asking: Any) -> None:
    def traced(request: Any, context: grpc.ServicerContext) -> Any:
        answer = answers(request, context)
        answer.timings.CopyFrom(recall_pb2.Timings(queue_us=40, model_us=0, search_us=180, merge_us=12, total_us=260))
        return answer

    ran, requests = asking(traced, "query", "films/movies", "--vector", "1,2,3", "--trace")
    assert requests[0].trace
    assert [line.split() for line in ran.out.splitlines()[-5:]] == [
        ["queue", "0.040", "ms"],
        ["model", "0.000", "ms"],
        ["search", "0.180", "ms"],
        ["merge", "0.012", "ms"],
        ["total", "0.260", "ms"],
    ]


def test_version_and_model_travel(asking: Any) -> None:
    ran, requests = asking(
        answers, "query", "films/movies", "--vector", "1,2,3", "--require-version", "6", "--model-version", "tower-6"
    )
    assert ran.code == 0
    assert (requests[0].require_version, requests[0].model_version) == (6, "tower-6")


@pytest.mark.parametrize(
    ("code", "reason", "remedy"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID", "Check RECALL_API_KEY."),
        (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", "Is films/movies right"),
        (grpc.StatusCode.FAILED_PRECONDITION, "NO_LIVE_VERSION", "`recall build films/movies` makes one."),
        (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_ROLLED_BACK", "`recall activate films/movies N`"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVICE_QPS_EXCEEDED", "Come again in 1.5 s."),
    ],
)
def test_an_error_of_the_gateway_comes_with_what_to_do(
    asking: Any, code: grpc.StatusCode, reason: str, remedy: str
) -> None:
    def refuses(request: Any, context: grpc.ServicerContext) -> None:
        wait = 1.5 if code is grpc.StatusCode.RESOURCE_EXHAUSTED else 0
        refuse(context, code, "no", reason=reason, retry_after_seconds=wait)

    ran, _ = asking(refuses, "query", "films/movies", "--vector", "1,2,3")
    assert ran.error.reason == reason
    assert remedy in ran.error.remedy


@pytest.mark.parametrize("reason", ["ENGINE_UNAVAILABLE", "REPLICA_UNAVAILABLE"])
def test_a_gateway_that_says_what_is_away_is_not_taken_for_one_that_is_not_there(asking: Any, reason: str) -> None:
    def refuses(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.UNAVAILABLE, "it does not answer just now; try again", reason=reason)

    ran, _ = asking(refuses, "query", "films/movies", "--vector", "1,2,3")
    assert (ran.code, ran.error.reason) == (errors.EXIT_FAILED, reason)
    assert ran.error.line() == (
        "it does not answer just now; try again. `recall alerts --service movies --tenant films` tells what is wrong."
    )


def test_where_no_gateway_answers_its_address_is_doubted(recall: Recall, clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("RECALL_API_KEY", "rk_alicekey_secret")
    clean_environment.setenv("RECALL_GATEWAY", "127.0.0.1:1")
    refused = recall("query", "films/movies", "--vector", "1,2,3")
    clean_environment.setattr("cli.commands.query.DEADLINE_MS", 300)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        clean_environment.setenv("RECALL_GATEWAY", f"127.0.0.1:{mute.getsockname()[1]}")
        unanswered = recall("query", "films/movies", "--vector", "1,2,3")
    assert (refused.code, unanswered.code) == (errors.EXIT_UNREACHABLE, errors.EXIT_UNREACHABLE)
    assert "The gateway is 127.0.0.1:1; is it right (RECALL_GATEWAY)?" in refused.error.line()
    assert "is it right (RECALL_GATEWAY)?" in unanswered.error.line()


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
    assert "RECALL_API_KEY or RECALL_API_KEY_FILE" in ran.error.remedy


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
