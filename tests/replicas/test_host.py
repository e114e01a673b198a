"""The host process over its socket: what it says, how it starts, and how it ends."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from recallpb.internal.v1 import documents_pb2, replica_pb2
from recallpb.v1 import recall_pb2
from replicas.host import EXIT_ALREADY_HELD, EXIT_CANNOT_LOAD, replica_address
from tests.support.artifacts import MadeArtifact, exact_ids, make_artifact
from tests.support.replica_hosts import Host, host_command, running_host

pytestmark = pytest.mark.servers

ITEMS, DIMENSION = 500, 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    attributes = {
        "title": ("string", [f"Film {row}" for row in range(ITEMS)]),
        "year": ("int64", [None if row % 5 == 0 else 1900 + row for row in range(ITEMS)]),
        "score": ("float64", [row / 8 for row in range(ITEMS)]),
        "new": ("bool", [row % 2 == 0 for row in range(ITEMS)]),
        "genre": ("list<string>", [["drama", "crime"][: row % 3] for row in range(ITEMS)]),
    }
    folder = tmp_path_factory.mktemp("made")
    return make_artifact(folder, items=ITEMS, dimension=DIMENSION, hidden=5, attributes=attributes, version=3)


@pytest.fixture(scope="module")
def host(made: MadeArtifact) -> Iterator[Host]:
    with running_host(made, RECALL_NODE="node-a", RECALL_REPLICA_ANSWER_BYTES_MAX=str(2**20)) as host:
        yield host


def request(vector: np.ndarray, **fields: object) -> recall_pb2.RecallRequest:
    packed = recall_pb2.Vector(packed=np.asarray(vector, dtype="<f4").tobytes())
    return recall_pb2.RecallRequest(vectors=recall_pb2.VectorQuery(vectors=[packed]), **{"top_k": 10, **fields})


def send(host: Host, *requests: recall_pb2.RecallRequest, **fields: object) -> list[replica_pb2.Answer]:
    raw = [each.SerializeToString() for each in requests]
    response = host.stub.Answer(replica_pb2.AnswerRequest(requests=raw, **{"version": 3, **fields}), timeout=10)
    return list(response.answers)


def read(answer: replica_pb2.Answer) -> recall_pb2.RecallResponse:
    assert answer.WhichOneof("result") == "response", answer
    return recall_pb2.RecallResponse.FromString(answer.response)


def test_it_answers_a_batch_in_order_with_public_responses(host: Host, made: MadeArtifact) -> None:
    answers = send(host, *(request(query) for query in made.queries[:30]))

    assert len(answers) == 30
    for query, answer in zip(made.queries, answers, strict=False):
        response = read(answer)
        ids, scores = exact_ids(made, query, 10)
        assert list(response.ids) == ids
        np.testing.assert_allclose(response.scores, scores, rtol=1e-5)
        assert (response.version, response.replica, response.model_version) == (3, "r1", "mind-7")
        assert not response.text_ids
        assert not response.found_by
        assert not response.HasField("timings")


def test_floats_may_come_packed_or_as_values(host: Host, made: MadeArtifact) -> None:
    values = recall_pb2.Vector(values=recall_pb2.FloatList(values=made.queries[0].tolist()))
    listed = recall_pb2.RecallRequest(vectors=recall_pb2.VectorQuery(vectors=[values]), top_k=10)

    from_values, from_packed = map(read, send(host, listed, request(made.queries[0])))

    assert from_values == from_packed


def test_everything_that_may_be_asked_for_arrives(host: Host, made: MadeArtifact) -> None:
    full = request(
        made.queries[0],
        return_attributes=["title", "year", "score", "new", "genre"],
        return_vectors=True,
        trace=True,
        exclude=recall_pb2.ItemIds(ids=exact_ids(made, made.queries[0], 2)[0]),
        params=recall_pb2.SearchParams(exact=True),
    )
    full.vectors.vectors.add(packed=made.queries[1].tobytes())
    full.vectors.weights.extend([1.0, 0.5])

    response = read(send(host, full, queued_us=[700])[0])

    rows = [made.ids.index(number) for number in response.ids]
    columns = {column.name: column for column in response.attributes}
    assert list(columns["title"].strings.values) == [f"Film {row}" for row in rows]
    assert list(columns["year"].ints.values) == [0 if row % 5 == 0 else 1900 + row for row in rows]
    assert list(columns["year"].present) in ([row % 5 != 0 for row in rows], [])
    assert list(columns["score"].doubles.values) == [row / 8 for row in rows]
    assert list(columns["new"].bools.values) == [row % 2 == 0 for row in rows]
    genres = [list(each.values) for each in columns["genre"].string_lists.values]
    assert genres == [["drama", "crime"][: row % 3] for row in rows]
    vectors = [np.frombuffer(vector.packed, "<f4").tolist() for vector in response.vectors]
    assert vectors == made.vectors[rows].tolist()
    assert set(response.found_by) <= {0, 1}
    assert len(response.found_by) == len(response.ids) == len(response.scores) == 10
    assert not set(response.ids) & set(full.exclude.ids)
    assert response.timings.queue_us >= 700
    assert response.timings.total_us >= response.timings.queue_us + response.timings.search_us


def test_one_bad_query_is_its_own_error(host: Host, made: MadeArtifact) -> None:
    good, bad = request(made.queries[0]), request(np.full(DIMENSION, np.nan))
    raw = [good.SerializeToString(), bad.SerializeToString(), b"\xff\xff", good.SerializeToString()]

    answers = host.stub.Answer(replica_pb2.AnswerRequest(requests=raw, version=3)).answers

    assert read(answers[0]) == read(answers[3])
    nan, garbage = answers[1].error, answers[2].error
    assert (nan.code, nan.field) == (code_pb2.INVALID_ARGUMENT, "vectors.vectors[0]")
    assert (nan.reason, bool(nan.message)) == ("VECTOR_NOT_FINITE", True)
    assert (garbage.code, garbage.reason) == (code_pb2.INVALID_ARGUMENT, "REQUEST_UNREADABLE")


def test_an_unknown_merge_is_refused(host: Host, made: MadeArtifact) -> None:
    error = send(host, request(made.queries[0], merge=9))[0].error

    assert (error.code, error.field) == (code_pb2.INVALID_ARGUMENT, "merge")
    assert error.message == "9 is no merge policy; there are MAX (0), WEIGHTED_SUM (1), ROUND_ROBIN (2)"


def test_a_deadline_that_passed_in_the_queue_is_told(host: Host, made: MadeArtifact) -> None:
    """Exact searches of everything keep both threads busy for longer than the late query may wait."""
    heavy = [request(query, top_k=490, return_vectors=True) for query in made.queries[:200]]
    busy = [threading.Thread(target=send, args=(host, *heavy)) for _ in range(4)]
    for thread in busy:
        thread.start()
    outcomes = [send(host, request(made.queries[0]), request(made.queries[0]), deadlines_ms=[1, 0]) for _ in range(20)]
    for thread in busy:
        thread.join()

    late = [first.error.code for first, _ in outcomes if first.HasField("error")]
    assert late
    assert set(late) == {code_pb2.DEADLINE_EXCEEDED}
    assert all(second.HasField("response") for _, second in outcomes)


def test_answers_beyond_the_message_are_refused_one_by_one(host: Host, made: MadeArtifact) -> None:
    """The fixture's host writes at most 1 MiB; each of these answers takes about 40 KiB."""
    answers = send(host, *(request(query, top_k=490, return_vectors=True) for query in made.queries[:60]))

    codes = {answer.error.code for answer in answers if answer.HasField("error")}
    assert answers[0].HasField("response")
    assert codes == {code_pb2.RESOURCE_EXHAUSTED}


def test_another_version_refuses_the_whole_call(host: Host, made: MadeArtifact) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        send(host, request(made.queries[0]), version=2)

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_and_field(caught.value) == ("VERSION_NOT_LOADED", "")


def reason_and_field(error: grpc.RpcError) -> tuple[str, str]:
    trailer = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(trailer).details:
        _ = detail.Unpack(info) or detail.Unpack(bad)
    return info.reason, bad.field_violations[0].field if bad.field_violations else ""


def test_items_come_by_id_with_what_is_missing(host: Host, made: MadeArtifact) -> None:
    asked = [made.ids[7], 5, made.ids[499], made.ids[7]]

    response = host.stub.GetItems(
        recall_pb2.GetItemsRequest(
            items=recall_pb2.ItemIds(ids=asked), return_attributes=["title"], return_vectors=True
        )
    )

    assert response.version == 3
    assert list(response.ids) == [made.ids[7], made.ids[499], made.ids[7]]
    assert list(response.missing.ids) == [5]
    assert list(response.attributes[0].strings.values) == ["Film 7", "Film 499", "Film 7"]
    assert np.frombuffer(response.vectors[1].packed, "<f4").tolist() == made.vectors[499].tolist()


@pytest.mark.parametrize(
    ("items", "names", "field"),
    [
        (recall_pb2.ItemIds(), [], "items"),
        (recall_pb2.ItemIds(ids=range(1_001)), [], "items"),
        (recall_pb2.ItemIds(text_ids=["a"]), [], "items.text_ids"),
        (recall_pb2.ItemIds(ids=[1]), ["nothing"], "return_attributes"),
    ],
)
def test_get_items_names_the_field_at_fault(
    host: Host, items: recall_pb2.ItemIds, names: list[str], field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        host.stub.GetItems(recall_pb2.GetItemsRequest(items=items, return_attributes=names))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_and_field(caught.value)[1] == field


def test_it_describes_itself(host: Host, made: MadeArtifact) -> None:
    described = host.stub.Describe(replica_pb2.DescribeRequest())

    assert (described.replica_id, described.pid) == ("r1", host.process.pid)
    assert (described.tenant, described.service, described.version) == ("films", "similar", 3)
    assert (described.items, described.searchable_items) == (ITEMS, ITEMS - 5)
    assert described.manifest_sha256 == made.manifest_sha256
    assert described.rss_bytes > 2**20


def test_the_identity_says_who_it_is(host: Host, made: MadeArtifact) -> None:
    identity = host.identity

    assert identity.alive()
    assert (identity.replica_id, identity.node, identity.pid) == ("r1", "node-a", host.process.pid)
    assert (identity.address, identity.manifest_sha256) == (host.address, made.manifest_sha256)
    assert (identity.tenant, identity.service, identity.version) == ("films", "similar", 3)


def test_it_warms_up_and_checks_itself(host: Host) -> None:
    warm = host.stub.Execute(documents_pb2.Order(order_id="o1", kind=documents_pb2.Order.WARM))
    check = host.stub.Execute(documents_pb2.Order(order_id="o2", kind=documents_pb2.Order.CHECK))

    assert (warm.order_id, warm.ok, warm.error) == ("o1", True, "")
    assert warm.queries >= 400
    assert 0 < warm.p50_ms <= warm.p99_ms
    assert (check.order_id, check.ok, check.error) == ("o2", True, "")
    assert (check.agreement, check.agreement_min, check.version, check.items) == (1.0, 0.98, 3, ITEMS - 5)
    assert check.rows_found == check.rows_sampled > 0


def test_it_is_warm_before_it_takes_its_first_call(host: Host) -> None:
    said = [json.loads(line)["event"] for line in host.log_path.read_text().splitlines() if line.startswith("{")]
    assert said.index("warmed_up") < said.index("ready")


def test_an_audit_asks_a_few_known_queries_as_a_caller_would(host: Host) -> None:
    audits = [host.stub.Execute(documents_pb2.Order(order_id="a", kind=documents_pb2.Order.AUDIT)) for _ in range(10)]

    assert [(audit.ok, audit.error, audit.agreement) for audit in audits] == [(True, "", 1.0)] * 10
    assert {(audit.version, audit.items) for audit in audits} == {(3, ITEMS - 5)}
    assert all(1 <= audit.queries <= 10 and 0 < audit.p50_ms <= audit.p99_ms for audit in audits)


def test_an_unknown_order_is_refused(host: Host) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        host.stub.Execute(documents_pb2.Order(order_id="o1"))

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_second_process_of_the_same_name_ends(host: Host, made: MadeArtifact) -> None:
    second = subprocess.run(
        host_command(made, host.identity_path.parent, "r1"), capture_output=True, timeout=60, check=False
    )

    assert second.returncode == EXIT_ALREADY_HELD
    assert host.stub.Describe(replica_pb2.DescribeRequest()).pid == host.process.pid


def test_a_damaged_artifact_is_never_served(tmp_path: Path) -> None:
    made = make_artifact(tmp_path)
    ids = made.path / "ids.npy"
    payload = bytearray(ids.read_bytes())
    payload[-3] ^= 1
    ids.write_bytes(payload)

    ended = subprocess.run(host_command(made, tmp_path, "r1"), capture_output=True, timeout=60, check=False)

    assert ended.returncode == EXIT_CANNOT_LOAD
    assert json.loads(ended.stderr.splitlines()[-1])["reason"] == "artifact.checksum_mismatch"
    assert not (tmp_path / "r1.json").exists()
    assert not (tmp_path / "r1.sock").exists()


def test_a_strangers_artifact_is_never_served(tmp_path: Path, made: MadeArtifact) -> None:
    command = host_command(made, tmp_path, "r1", sha256="0" * 64)

    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)

    assert ended.returncode == EXIT_CANNOT_LOAD


@pytest.mark.parametrize("address", ["0.0.0.0:50099", "localhost:1", "unix:/" + "x" * 120, "[::]:1", "1.2.3.4:5"])
def test_it_listens_nowhere_but_on_this_machine(address: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        replica_address(address)


def test_sigterm_lets_calls_end_and_takes_the_identity_away(made: MadeArtifact) -> None:
    with running_host(made) as host:
        raw = [request(query, top_k=490).SerializeToString() for query in made.queries]
        batch = replica_pb2.AnswerRequest(requests=raw, version=3)
        calls = [host.stub.Answer.future(batch) for _ in range(4)]
        host.stub.Describe(replica_pb2.DescribeRequest())

        os.kill(host.process.pid, signal.SIGTERM)

        assert [len(call.result(timeout=30).answers) for call in calls] == [200] * 4
        assert host.process.wait(timeout=30) == 0
        assert not host.identity_path.exists()


def test_the_probe_opens_what_is_whole_and_names_what_is_not(made: MadeArtifact, tmp_path: Path) -> None:
    probe = [sys.executable, "-m", "replicas.probe"]
    whole = subprocess.run([*probe, str(made.path), made.manifest_sha256], capture_output=True, timeout=60, check=False)
    assert (whole.returncode, whole.stdout) == (0, b"")

    absent = subprocess.run([*probe, str(tmp_path / "no"), "0" * 64], capture_output=True, timeout=60, check=False)
    assert absent.returncode == 1
    assert json.loads(absent.stdout)["error"]["reason"] == "artifact.not_found"
