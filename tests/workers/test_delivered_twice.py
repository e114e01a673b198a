"""The same task delivered twice, to two processes: one artifact, one version, one switch."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit.models import AuditEvent
from catalog.models import Service
from tests.support.artifacts import MadeArtifact, make_artifact
from tests.support.forked_workers import Worker, Workers, forked_workers
from tests.support.history import asked, expired, refreshed
from tests.workers.aftermath import artifact_folders, check_no_orphan_is_left, deliver, tidy
from tests.workers.conftest import finish
from versions import selectors
from versions.models import Build, Version

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

ROUNDS = 4
WAIT_SECONDS_MAX = 60.0
# How long the first of two is held up, which is long enough for the second to take the build over and to end it.
STALL_SECONDS = 8.0
# A worker that is refused ends at once.
CLAIM_SECONDS = 1.0
LOST = "another worker got there first"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    return make_artifact(tmp_path_factory.mktemp("made"), items=60, dimension=4)


@pytest.fixture(scope="module")
def workers(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with forked_workers(tmp_path_factory.mktemp("workers")) as pool:
        yield pool


def test_of_two_that_start_together_one_builds_and_the_other_leaves_it(
    films_service, folders, node, workers, made, valkey, monkeypatch
):
    for number in range(1, ROUNDS + 1):
        deliver(films_service, made, f"2026010{number}")
        build = asked(films_service)
        both = [workers.start(build) for _ in range(2)]
        assert [worker.wait() for worker in both] == [0, 0]
        build = finish(build)
        assert (build.state, build.version_number) == ("SUCCEEDED", number)
        assert build.steps.exclude(state="DONE").count() == 0
        assert len([path for path in artifact_folders() if f"v{number}-" in path.name]) == 1
    assert selectors.activations_of(films_service).count() == ROUNDS
    assert AuditEvent.objects.filter(verb="version.complete").count() == ROUNDS
    tidy(monkeypatch)
    check_no_orphan_is_left(films_service, valkey)


@pytest.mark.parametrize(
    "name",
    ["publish.after_files", "publish.before_rename", "publish.before_row", "step.publish_artifact.after"],
)
def test_one_that_is_overtaken_while_it_publishes_is_refused_by_the_fence(
    name, films_service, folders, node, workers, made, valkey, monkeypatch
):
    """The first is held up for as long as the second needs for everything."""
    deliver(films_service, made, "20260101")
    build = asked(films_service)
    first = workers.start(build, f"{name}=sleep:{STALL_SECONDS}")
    _until(lambda: f"failpoint {name}: sleep" in first.log, "the first to stall")
    second = _overtaking(workers, build)
    assert (first.wait(), second.wait()) == (0, 0)
    build = finish(build)

    assert (build.state, build.fence >= 2) == ("SUCCEEDED", True)
    assert LOST in first.log
    version = Version.objects.get()
    assert (version.state, Path(version.artifact).name) == ("READY", _first_or_second(name))
    assert AuditEvent.objects.filter(verb="version.complete").count() == 1
    assert refreshed(films_service).live_generation == selectors.activations_of(films_service).count() == 1
    tidy(monkeypatch)
    check_no_orphan_is_left(films_service, valkey)


def test_one_that_wakes_after_the_build_has_ended_changes_nothing(
    films_service, folders, node, workers, made, valkey, monkeypatch
):
    deliver(films_service, made, "20260101")
    build = asked(films_service)
    first = workers.start(build, "publish.before_row=sleep:0.5")
    _until(lambda: "failpoint publish.before_row" in first.log, "the first to stall")
    os.kill(first.pid, signal.SIGSTOP)
    expired(build)
    build = finish(build)
    before = _everything(films_service)
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait() == 0
    assert LOST in first.log
    assert _everything(films_service) == before
    tidy(monkeypatch)
    check_no_orphan_is_left(films_service, valkey)


def _overtaking(workers: Workers, build: Build) -> Worker:
    """A worker that has claimed the build. The first one renews its lease meanwhile, so that it may take some tries."""
    give_up_at = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        expired(build)
        second = workers.start(build)
        look_until = time.monotonic() + CLAIM_SECONDS
        while _fence(build) < 2 and time.monotonic() < look_until:
            time.sleep(0.02)
        if _fence(build) >= 2 or (second.wait() == 0 and _fence(build) >= 2):
            return second
        assert time.monotonic() < give_up_at, f"no second worker claimed the build within {WAIT_SECONDS_MAX:g} s"


def _first_or_second(name: str) -> str:
    """Whose artifact counts: that of who wrote the row. Only after that step has it been written by the first."""
    fence = 1 if name == "step.publish_artifact.after" else 2
    return f"s{Build.objects.get().service_id}-v1-b1-f{fence}"


def _fence(build: Build) -> int:
    return int(Build.objects.values_list("fence", flat=True).get(pk=build.pk))


def _everything(service: Service) -> tuple[object, ...]:
    rows = [list(model.objects.order_by("pk").values()) for model in (Build, Version, AuditEvent)]
    return (*rows, list(selectors.activations_of(service).values()))


def _until(what: Callable[[], bool], name: str) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS_MAX
    while not what():
        assert time.monotonic() < give_up_at, f"waited {WAIT_SECONDS_MAX:g} s for {name}"
        time.sleep(0.02)
