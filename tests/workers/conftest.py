"""Folders and a Valkey of their own for the workers' tests. Builds are run by calling the pipeline, as a task would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import layout
from catalog.models import Service
from tests.support.history import asked, completed, refreshed, resolved
from tests.support.milvus import running_milvus
from tests.support.paper_node import PaperNode
from tests.support.source import write_drop
from tests.support.valkey import Valkey, running_valkey
from versions import actions
from versions.models import Build
from workers import pipeline

# A build that waits is rung for again so often; each ring is a claim of its own.
RINGS_MAX = 20


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
def valkey(shared_valkey: Valkey, settings) -> Valkey:
    """Running and empty, and the platform's Redis for this test."""
    shared_valkey.client().flushall()
    settings.REDIS_URL = shared_valkey.url
    return shared_valkey


@pytest.fixture
def folders(tmp_path: Path, settings) -> Path:
    settings.RECALL_DROPS = tmp_path / "drops"
    settings.RECALL_WORK = tmp_path / "work"
    settings.RECALL_ARTIFACTS = tmp_path / "artifacts"
    settings.RECALL_SAMPLES = tmp_path / "samples"
    settings.BUILD_THREADS = 1
    return tmp_path


@pytest.fixture
def node(valkey: Valkey) -> Iterator[PaperNode]:
    with PaperNode(valkey) as node:
        yield node


@pytest.fixture
def build_of(folders: Path) -> Callable[..., Build]:
    """Delivers a drop and runs a build of it until it ends or is held."""

    def run(service: Service, name: str, **drop: object) -> Build:
        write_drop(service, name, **drop)
        return finish(asked(service))

    return run


@pytest.fixture
def steps_until(monkeypatch) -> Callable[[str], None]:
    """The pipeline ends after the step of this name: what comes then is not looked at."""

    def cut(name: str) -> None:
        names = [step.name for step in pipeline.STEPS]
        monkeypatch.setattr(pipeline, "STEPS", pipeline.STEPS[: names.index(name) + 1])

    return cut


def imported(service: Service, folder: Path, *, items: int = 1_000) -> Build:
    """A build that is to be admitted next; its import is on paper, but for the vectors."""
    build = asked(service, force=True)
    claim = actions.build_claim(build.pk, owner="worker-1")
    assert claim is not None
    names = [step.name for step in pipeline.STEPS]
    actions.steps_prepare(claim, names)
    resolved(claim, f"drop-{build.number:04}")
    out_dir = folder / f"import-{build.pk}"
    out_dir.mkdir()
    np.save(out_dir / layout.VECTORS, np.zeros((items, service.spec["schema"]["dimension"]), np.float32))
    on_paper = {"dir": str(out_dir), "items": items, "searchable_items": items, "partition_rows": [items]}
    context = {"import": on_paper, "counts": {"items": items}}
    for name in names[: names.index("admit")]:
        actions.step_start(claim, name)
        actions.step_done(claim, name, report={}, context=context)
    actions.build_wait(claim, "check_items", seconds=0, detail="", context={})
    return build


def published(service: Service, *, items: int = 60, **values: Any) -> Build:
    """A build of a drop of its own that has come as far as its published artifact, without running any child.

    `values` are what the artifact is told to be.
    """
    return carried(asked(service, force=True), items=items, **values)


def carried(build: Build, *, items: int = 60, **values: Any) -> Build:
    """The same of a build that somebody has asked for, and that nobody has begun."""
    claim = actions.build_claim(build.pk, owner="worker-1")
    assert claim is not None
    names = [step.name for step in pipeline.STEPS]
    actions.steps_prepare(claim, names)
    resolved(claim, f"drop-{build.number:04}")
    completed(claim, items=items, **values)
    live = refreshed(build.service)
    counts = {"items": items, "live_generation": live.live_generation}
    for name in names[: names.index("place_replicas")]:
        actions.step_start(claim, name)
        actions.step_done(claim, name, report={}, context={"counts": counts})
    actions.build_wait(claim, "publish_artifact", seconds=0, detail="", context={})
    return build


def ring(build: Build) -> Build:
    """Rings for the build once, as when its wake-up is due."""
    Build.objects.filter(pk=build.pk, wake_at__isnull=False).update(wake_at="2020-01-01T00:00:00+00:00")
    pipeline.run(build.pk)
    return Build.objects.select_related("service__tenant").get(pk=build.pk)


def finish(build: Build) -> Build:
    """Rings for the build, each time its wake-up is due, until nothing is left to do now."""
    for _ in range(RINGS_MAX):
        build = ring(build)
        if build.state not in ("PENDING", "RUNNING"):
            return build
    raise AssertionError(f"{build} still is {build.state}: {build.report}")


@pytest.fixture
def instances(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two servers of an engine that asks one: blue and green."""
    with running_milvus() as blue, running_milvus() as green:
        monkeypatch.setenv("RECALL_MILVUS_INSTANCES", f"blue={blue.uri},green={green.uri}")
        yield
