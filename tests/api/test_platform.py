"""Health, sources, and what gateways ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db import DatabaseError
from django.test import Client

from catalog import sources
from documents.store import GATEWAY_REPORT_PREFIX
from recallpb.internal.v1 import documents_pb2
from tenants.actions import key_create, key_revoke
from tenants.models import Tenant
from tests.api.conftest import Caller
from tests.factories import TESTER
from tests.support.false_namenode import running_false_namenode
from tests.support.sources_file import write_sources
from tests.support.valkey import running_valkey

INSPECT = "/tenants/films/sources:inspect"


def write_drop(root: Path, columns: dict[str, Any], name: str = "2026-11-21") -> Path:
    folder = root / "films" / "movies" / name
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "items-0.parquet")
    (folder / "manifest.json").write_text(json.dumps({"items": ["items-*.parquet"]}))
    return folder


@pytest.fixture
def drops(tmp_path: Path, settings: Any, films: Tenant) -> Path:
    settings.RECALL_DROPS = tmp_path
    (tmp_path / "films").mkdir()
    return tmp_path


def test_a_source_shows_its_drop_and_suggests_a_schema(machine: Caller, drops: Path) -> None:
    vectors = pa.array([[1.0, float("nan")], [3.0, 4.0]], pa.list_(pa.float32()))
    times = pa.array([0, 1], pa.timestamp("s"))
    blobs = pa.array([b"\xff", b"b"])
    write_drop(drops, {"id": [1, 2], "vector": vectors, "genre": ["a" * 5_000, None], "at": times, "raw": blobs})
    answer = machine.post(INSPECT, {"uri": "file:movies/"})
    assert (answer.status, answer.body["drop"], answer.body["rows"]) == (200, "2026-11-21", 2)
    schema = answer.body["suggested_schema"]
    assert (schema["id_type"], schema["dimension"]) == ("int64", 2)
    assert {"name": "genre", "type": "string"} in schema["attributes"]
    first = answer.body["sample"][0]
    assert (first["id"], first["vector"], first["genre"]) == (1, [1.0, None], "a" * 200)


@pytest.mark.parametrize(
    "uri", ["file:../books/", "/etc", "file:///etc/passwd", "s3://b/p", "file::x", "", "file:a\x00b"]
)
def test_a_source_outside_its_root_is_refused(machine: Caller, drops: Path, uri: str) -> None:
    answer = machine.post(INSPECT, {"uri": uri})
    assert (answer.status, answer.error["code"]) == (400, "INVALID_ARGUMENT")
    assert answer.error["details"][0]["field"] == "uri"


def test_a_source_without_a_drop_says_so(machine: Caller, drops: Path) -> None:
    answer = machine.post(INSPECT, {"uri": "file:movies/"})
    assert (answer.status, answer.error["reason"]) == (400, "DROP_NOT_FOUND")


def test_a_damaged_file_costs_its_reader_and_not_us(machine: Caller, drops: Path) -> None:
    folder = write_drop(drops, {"id": [1], "vector": [[1.0]]})
    file = folder / "items-0.parquet"
    file.write_bytes(b"PAR1" + b"\xff" * 200 + b"PAR1")
    answer = machine.post(INSPECT, {"uri": "file:movies/"})
    assert (answer.status, answer.error["code"]) == (400, "FAILED_PRECONDITION")


def test_a_source_that_takes_too_long_is_given_up(
    machine: Caller, drops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "INSPECT_SECONDS_MAX", 0.01)
    answer = machine.post(INSPECT, {"uri": "file:movies/"})
    assert (answer.status, answer.error["code"]) == (504, "DEADLINE_EXCEEDED")


def test_health_is_open_and_says_one_word_for_each_part(anonymous: Caller, settings: Any) -> None:
    with running_valkey() as valkey:
        settings.REDIS_URL = valkey.url
        assert anonymous.get("/health").body == {
            "status": "degraded",
            "database": "ok",
            "redis": "ok",
            "gateways": "down",
        }
        report = documents_pb2.GatewayReport(gateway="g1").SerializeToString()
        with valkey.client() as client:
            client.set(f"{GATEWAY_REPORT_PREFIX}g1", report)
        answer = anonymous.get("/health")
        assert answer.body == {"status": "ok", "database": "ok", "redis": "ok", "gateways": "ok"}
        valkey.kill()
        answer = anonymous.get("/health")
        assert (answer.status, answer.body["status"], answer.body["redis"]) == (200, "degraded", "down")
        assert answer.body["gateways"] == "unknown"


def test_health_is_down_with_the_database(anonymous: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def cursor(self) -> None:
            raise DatabaseError("could not connect to db.internal:5432")

    monkeypatch.setattr("versions.health.connection", Away())
    found = anonymous.client.get("/api/v1/health")
    assert (found.status_code, found.json()["status"], found.json()["database"]) == (503, "down", "down")
    assert b"db.internal" not in found.content


def test_gateways_hear_of_revoked_keys(films: Tenant, settings: Any) -> None:
    kept, ended = (key_create(actor=TESTER, tenant=films, scope="read").key for _ in range(2))
    key_revoke(actor=TESTER, key=ended)
    found = Client().get("/internal/revocations", headers={"X-Recall-Internal": settings.INTERNAL_TOKEN})
    assert found.json() == {"revoked_prefixes": [ended.prefix]}
    assert kept.prefix != ended.prefix


@pytest.mark.parametrize("token", ["", "wrong", "\xe9"])
def test_nobody_else_hears_of_them(db: None, token: str) -> None:
    found = Client().get("/internal/revocations", headers={"X-Recall-Internal": token})
    assert (found.status_code, found.json()["error"]["code"]) == (401, "UNAUTHENTICATED")


def test_a_remote_source_is_shown_where_it_is_configured_and_refused_elsewhere(
    machine: Caller, drops: Path, settings: Any
) -> None:
    with running_false_namenode() as namenode:
        place = {"namenode": namenode.address, "prefixes": ["/films/"], "user": "films"}
        settings.RECALL_SOURCES_FILE = write_sources(drops / "s.toml", {"films": {"webhdfs": [place]}})
        namenode.payload = b'id,vector\n1,"[0.6, 0.8]"\n'
        namenode.list_files({"items.csv": len(namenode.payload), "_SUCCESS": 0})
        answer = machine.post(INSPECT, {"uri": f"webhdfs://{namenode.address}/films/movies/"})
        assert (answer.status, answer.body["drop"], answer.body["complete"]) == (200, "movies", True)
        assert answer.body["suggested_schema"]["dimension"] == 2
        asked = len(namenode.asked)
        for uri in (f"webhdfs://{namenode.address}/books/", "s3://vault/films/"):
            refused = machine.post(INSPECT, {"uri": uri})
            assert (refused.status, refused.error["reason"]) == (400, "URI_NOT_ALLOWED")
            assert "RECALL_SOURCES_FILE" in refused.error["message"]
        assert len(namenode.asked) == asked
        namenode.send_to = "http://169.254.169.254/latest/meta-data/"
        sent = machine.post(INSPECT, {"uri": f"webhdfs://{namenode.address}/films/movies/"})
        assert (sent.status, sent.error["reason"]) == (400, "SOURCE_REDIRECT_REFUSED")
        assert "169.254" not in json.dumps(sent.error)
        namenode.send_to, namenode.status = "", 503
        busy = machine.post(INSPECT, {"uri": f"webhdfs://{namenode.address}/films/movies/"})
        assert (busy.status, busy.error["reason"]) == (503, "SOURCE_BUSY")
        (drops / "s.toml").chmod(0o644)
        open_to_all = machine.post(INSPECT, {"uri": f"webhdfs://{namenode.address}/films/movies/"})
        assert (open_to_all.status, open_to_all.error["reason"]) == (400, "SOURCE_BAD_SETTINGS")
