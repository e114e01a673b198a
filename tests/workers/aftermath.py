"""What must hold after a worker has died, and after the platform has had its time to tidy up."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from celery import current_app
from django.conf import settings

from bundles import layout
from bundles.artifact import open_artifact
from bundles.errors import ArtifactError
from catalog.models import Service
from documents.store import PLACEMENTS, ROUTES
from recallpb.internal.v1 import documents_pb2
from tests.support.artifacts import MadeArtifact
from tests.support.history import activated, made_version
from tests.support.valkey import Valkey
from versions.models import Build, Replica, Version
from workers import files, sweep

PROCESSES_END_SECONDS_MAX = 20.0


def serve(service: Service, made: MadeArtifact) -> Version:
    """Makes `made` version 1 of `service`, live and loaded on the node `local`."""
    return activated(made_version(service, items=len(made.ids), **copied(made, service, "v1-b1-f1")))


def copied(made: MadeArtifact, service: Service, name: str) -> dict[str, str]:
    """Puts `made` where a build of `service` would have; returns the columns that say where."""
    path = settings.RECALL_ARTIFACTS / service.tenant.name / service.name / name
    shutil.copytree(made.path, path)
    return {"artifact": str(path), "manifest_sha256": made.manifest_sha256}


def deliver(service: Service, made: MadeArtifact, name: str) -> None:
    """A drop with the very items of `made`, so that no guard has anything against it."""
    folder = Path(settings.RECALL_DROPS) / service.tenant.name / service.name / name
    folder.mkdir(parents=True)
    dimension = made.vectors.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(made.vectors.ravel()), dimension)
    pq.write_table(pa.table({"id": pa.array(made.ids), "vector": vectors}), folder / "items-0.parquet")
    (folder / "manifest.json").write_text(json.dumps({"items": ["items-*.parquet"], "count": len(made.ids)}))


def check_the_route_answers(service: Service, valkey: Valkey, made: MadeArtifact) -> list[int]:
    """What gateways are told now is loaded, whole and has the items; returns the versions, live first."""
    payload = valkey.client().hget(ROUTES.docs_key, f"{service.tenant.name}/{service.name}") or b""
    route = documents_pb2.Route.FromString(payload)
    assert route.versions, "the route has lost its live version"
    for routed in route.versions:
        version = Version.objects.get(service=service, number=routed.version)
        assert routed.replicas, f"version {version.number} is routed to no replica"
        assert (version.state, version.files_deleted_at) == ("READY", None)
        artifact = open_artifact(Path(version.artifact), version.manifest_sha256)
        assert (artifact.items, artifact.id_to_rows(made.ids[:1]).tolist() != [-1]) == (len(made.ids), True)
    return [routed.version for routed in route.versions]


def check_nothing_partial_opens(service: Service, valkey: Valkey, made: MadeArtifact) -> None:
    """Every folder is refused or whole, even to who believes its own manifest; every placement names a whole one."""
    for folder in artifact_folders():
        manifest = folder / layout.MANIFEST
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else "00" * 32
        with contextlib.suppress(ArtifactError):
            artifact = open_artifact(folder, digest)
            assert (artifact.items, len(artifact.queries()[0]) > 0) == (len(made.ids), True)
            assert artifact.known() is not None
    for payload in valkey.client().hvals(PLACEMENTS.docs_key):
        for placement in documents_pb2.Placements.FromString(payload).placements:
            open_artifact(Path(placement.artifact), placement.manifest_sha256)
    for version in Version.objects.filter(service=service, state="READY"):
        open_artifact(Path(version.artifact), version.manifest_sha256)


def check_no_process_is_left(folder: Path) -> None:
    """No child of a worker that died works on in `folder`."""
    give_up_at = time.monotonic() + PROCESSES_END_SECONDS_MAX
    while left := [process.info for process in _processes() if _names(process, folder)]:
        assert time.monotonic() < give_up_at, left
        time.sleep(0.02)


def rung_for(build: Build, valkey: Valkey) -> bool:
    """Whether the sweeper rings for the build now, through a real broker."""
    client = valkey.client()
    client.delete("builds", *client.scan_iter("recall:rung:*"))
    with _broker(valkey.url):
        sweep.due_builds()
    messages = [json.loads(each) for each in client.lrange("builds", 0, -1)]
    return [build.pk] in [json.loads(each["headers"]["argsrepr"]) for each in messages]


def tidy(monkeypatch) -> None:
    """All sweeps, as often as it takes, with no time of grace."""
    monkeypatch.setattr(files, "FAILED_WORK_SECONDS", 0)
    monkeypatch.setattr(files, "ORPHAN_SECONDS", -1)
    monkeypatch.setattr(settings, "RETIRE_DRAIN_SECONDS", 0)
    monkeypatch.setattr(settings, "RETIRE_FILES_SECONDS", 0)
    for _ in range(3):
        sweep.collect_reports()
        sweep.reconcile_documents()
        sweep.tend_held_builds()
        sweep.close_deleted_services()
        sweep.retire_versions()
        files.delete_files()
        files.delete_orphans()


def check_no_orphan_is_left(service: Service, valkey: Valkey) -> None:
    """Files, replicas and placements are those that rows name."""
    kept = Version.objects.filter(state__in=["READY", "RETIRING"])
    assert {str(path) for path in artifact_folders()} == set(kept.values_list("artifact", flat=True))
    assert list(settings.RECALL_WORK.glob("*/*/*")) == []
    placed = Replica.objects.exclude(state__in=["WITHDRAWN", "GONE"])
    assert set(placed.values_list("version__state", flat=True)) == {"READY"}
    payloads = valkey.client().hvals(PLACEMENTS.docs_key)
    told = [each for payload in payloads for each in documents_pb2.Placements.FromString(payload).placements]
    assert sorted(each.replica_id for each in told) == sorted(f"r{replica.pk}" for replica in placed)


def artifact_folders() -> list[Path]:
    """Finished ones and those in the making."""
    return sorted(path for path in settings.RECALL_ARTIFACTS.glob("*/*/*") if path.is_dir())


@contextlib.contextmanager
def _broker(url: str):
    before = {name: current_app.conf[name] for name in ("broker_url", "broker_write_url")}
    current_app.conf.update(broker_url=url, broker_write_url=url)
    try:
        yield
    finally:
        current_app.conf.update(before)


def _processes() -> list[psutil.Process]:
    return list(psutil.process_iter(["pid", "cmdline", "status"]))


def _names(process: psutil.Process, folder: Path) -> bool:
    alive = process.info["status"] != psutil.STATUS_ZOMBIE
    return alive and any(str(folder) in part for part in process.info["cmdline"] or [])
