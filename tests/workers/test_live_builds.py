"""Whole builds beside live queries: what is asked, what the report says of it, and what the artifact keeps."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import samples as files
from bundles.artifact import Artifact, open_artifact
from catalog.models import Service
from tests.factories import make_service
from tests.replicas.test_frames import Line, question, recall
from tests.support.history import asked
from tests.support.nodes import running_node
from tests.support.replica_hosts import Host
from tests.support.source import write_drop
from tests.workers.conftest import finish
from tests.workers.test_live_queries import sampled, window
from versions import selectors
from versions.models import Build, Replica
from workers import samples
from workers.children.live_queries import NONE_YET

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

CONNECT_SECONDS_MAX = 30.0


@pytest.fixture
def named(films) -> Service:
    return make_service(films, "movies", schema={"dimension": 4, "metric": "cosine"}, search={"at": 10})


def lived(settings: Any, version: int, count: int = 300, **space: Any) -> np.ndarray:
    """The replica of `version` has answered so many queries."""
    replica = Replica.objects.select_related("version__service__tenant").get(version__number=version)
    service = replica.version.service
    root = Path(settings.RECALL_SAMPLES)
    path = files.path_of(root, service.tenant.name, service.name, f"r{replica.pk}")
    held = window(count, dimension=4)
    at_home = {"dimension": 4, "metric": "cosine", "normalized": True, **space}
    sampled(path, held, service=service.name, **at_home)
    return held.vectors


def artifact_of(build: Build) -> Artifact:
    version = selectors.version_get(build.service, build.version_number)
    return open_artifact(Path(version.artifact), version.manifest_sha256)


def tuned(build: Build) -> dict[str, Any]:
    assert build.state == "SUCCEEDED", build.error_message
    found: dict[str, Any] = build.report["tune"]
    return found


def test_the_first_build_asks_items_and_the_next_one_what_was_asked_of_the_first(named, build_of, node, settings):
    first = build_of(named, "1", items=500, model_version="mind-7")
    assert (tuned(first)["queries_source"], tuned(first)["queries_note"]) == ("items", NONE_YET)
    vectors = lived(settings, 1)
    second = build_of(named, "2", items=501, model_version="mind-7")
    assert (tuned(second)["queries_source"], tuned(second)["asked"]) == ("live", "sampled live queries")
    assert tuned(second)["asked_top_k"] == {"median": 100, "max": 900}
    queries, source = artifact_of(second).queries()
    assert source == "live"
    assert {tuple(each) for each in queries.tolist()} == {tuple(each) for each in vectors.tolist()}
    checks = {each["what"]: each for each in second.report["evidence"]}
    assert checks["recall"]["note"] == "on 200 sampled live queries"
    third = build_of(named, "3", items=502, model_version="mind-7")
    assert tuned(third)["queries_source"] == "live", "what was asked of the version before counts after a switch, too"


def test_recorded_queries_go_before_live_ones(named, build_of, node, settings):
    build_of(named, "1", items=500, model_version="mind-7")
    lived(settings, 1)
    folder = write_drop(named, "2", items=501, model_version="mind-7")
    recorded = np.random.default_rng(3).normal(size=(20, 4)).astype(np.float32)
    pq.write_table(pa.table({"vector": list(recorded)}), folder / "queries.parquet")
    build = finish(asked(named))
    assert (tuned(build)["queries_source"], tuned(build)["queries"]) == ("recorded", 20)
    assert (tuned(build)["queries_note"], tuned(build)["asked"]) == ("", "recorded queries")


def test_recorded_lists_of_items_are_asked_by_their_mean(named, build_of, node, settings):
    build_of(named, "1", items=500, model_version="mind-7")
    lived(settings, 1)
    folder = write_drop(named, "2", items=501, model_version="mind-8")
    pq.write_table(pa.table({"items": [[1], [2, 3], [999_999], [4, 999_999]]}), folder / "queries.parquet")
    build = finish(asked(named))
    assert (tuned(build)["queries_source"], tuned(build)["queries"]) == ("item_ids", 3)
    assert tuned(build)["asked"] == "recorded lists of items"
    found = artifact_of(build)
    rows = found.id_to_rows([1, 2, 3, 4])
    mean = found.vectors()[rows[1:3]].mean(axis=0)
    wanted = [found.vectors()[rows[0]], mean / np.linalg.norm(mean), found.vectors()[rows[3]]]
    np.testing.assert_allclose(found.queries()[0], wanted, rtol=1e-5, atol=1e-6)


def test_a_drop_of_another_model_is_not_tuned_on_the_last_one_s_queries(named, build_of, node, settings):
    build_of(named, "1", items=500, model_version="mind-7")
    lived(settings, 1)
    build = build_of(named, "2", items=501, model_version="mind-8")
    assert tuned(build)["queries_source"] == "items"
    assert "model_version 'mind-7', not 'mind-8'" in tuned(build)["queries_note"]


def test_a_broken_file_is_logged_and_reported_and_the_build_goes_on(named, build_of, node, settings, caplog):
    build_of(named, "1", items=500, model_version="mind-7")
    lived(settings, 1)
    [path] = Path(settings.RECALL_SAMPLES).rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        build = build_of(named, "2", items=501, model_version="mind-7")
    assert (tuned(build)["queries_source"], tuned(build)["queries_note"]) == ("items", NONE_YET)
    [said] = tuned(build)["samples_ignored"]
    assert said.startswith(f"{path.name} cannot be read: ")
    assert said in caplog.text


def test_switched_off_nothing_that_was_kept_is_used(named, build_of, node, settings):
    build_of(named, "1", items=500, model_version="mind-7")
    lived(settings, 1)
    settings.QUERY_SAMPLES = 0
    build = build_of(named, "2", items=501, model_version="mind-7")
    assert (tuned(build)["queries_source"], tuned(build)["queries_note"]) == ("items", samples.SWITCHED_OFF)


def test_a_real_replica_samples_for_the_next_build_and_goes_on_after_a_restart(
    named, build_of, valkey, settings, tmp_path
):
    settings.RECALL_SAMPLES = tmp_path / "node" / "samples"
    vectors = np.random.default_rng(5).normal(size=(250, 4)).astype(np.float32)
    with running_node(tmp_path / "node", valkey) as node:
        build_of(named, "1", items=500, model_version="mind-7")
        replica = Replica.objects.get(version__number=1)
        ask(replica, vectors[:150])
        os.kill(node.report(f"r{replica.pk}").pid, signal.SIGTERM)
        node.wait_for(f"r{replica.pk}", lambda report: report.respawns == 1 and report.pid > 0)
        node.wait_until_ready(f"r{replica.pk}")
        ask(replica, vectors[150:])
        os.kill(node.report(f"r{replica.pk}").pid, signal.SIGTERM)
        node.wait_for(f"r{replica.pk}", lambda report: report.respawns == 2 and report.pid > 0)
        node.wait_until_ready(f"r{replica.pk}")
        build = build_of(named, "2", items=501, model_version="mind-7")
        assert tuned(build)["queries_source"] == "live"
        assert tuned(build)["queries_note"].startswith("250 of 250 live queries of the last ")
        assert build.report["warm"]["replicas"]["local"]["queries"] > 0
        queries, _ = artifact_of(build).queries()
    searched = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = (queries @ searched.T).max(axis=1)
    np.testing.assert_allclose(nearest, 1.0, atol=1e-5)


def ask(replica: Replica, vectors: np.ndarray) -> None:
    """As a gateway does, until it is answered."""
    replica.refresh_from_db()
    version, nobody = replica.version.number, cast(Any, None)
    give_up_at = time.monotonic() + CONNECT_SECONDS_MAX
    while True:
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            line = Line(Host(nobody, replica.address, Path(), Path(), nobody))
            break
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    with contextlib.closing(line.socket):
        reply = line.ask(question(*[recall(vector) for vector in vectors], version=version))
    assert all(each.WhichOneof("result") == "response" for each in reply.answer.answers)
