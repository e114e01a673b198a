"""Where a retry goes on: what the page promises from rows alone is what the worker does who looks at the files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.factories import TESTER
from tests.workers.conftest import finish
from versions import actions
from versions.models import Build
from versions.steps import KEPT_IN_WORK, WORDS
from versions.views import build_detail_view
from workers import files, pipeline, restart
from workers.outcomes import StepFailed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

Steps = Callable[[str], list[str]]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Has one step fail, once; gives the list of steps that ran."""
    ran: list[str] = []
    pending: list[str] = []

    def watched(step: pipeline.Step) -> pipeline.Step:
        def run(ctx: Any) -> Any:
            ran.append(step.name)
            if step.name in pending:
                pending.remove(step.name)
                raise StepFailed("engine.broken", "It broke.")
            return step.run(ctx)

        return pipeline.Step(step.name, run)

    monkeypatch.setattr(pipeline, "STEPS", tuple(watched(step) for step in pipeline.STEPS))

    def failing(name: str) -> list[str]:
        pending.append(name)
        return ran

    return failing


def test_each_step_is_told_in_words_and_what_it_keeps_is_looked_for() -> None:
    assert list(WORDS) == [step.name for step in pipeline.STEPS]
    assert tuple(restart.IS_THERE) == KEPT_IN_WORK


@pytest.mark.parametrize(
    ("failing", "goes_on"),
    [
        ("check_counts", "check_counts"),
        ("build_index", "admit"),
        ("check_index", "check_index"),
        ("warm_replicas", "publish_artifact"),
    ],
)
def test_the_page_promises_what_the_worker_does(films_service, build_of, node, steps, failing, goes_on):
    ran = steps(failing)
    build = build_of(films_service, "1")
    assert promised(build) == goes_on
    del ran[:]
    actions.build_retry(actor=TESTER, build=build)
    assert (finish(build).state, ran[0]) == ("SUCCEEDED", goes_on)


def test_an_hour_later_its_files_are_gone_and_it_begins_with_the_import(
    films_service, build_of, node, steps, monkeypatch
):
    ran = steps("check_index")
    build = build_of(films_service, "1")
    monkeypatch.setattr(files, "FAILED_WORK_SECONDS", 0)
    files.delete_files()
    assert promised(build) == "import_items"
    del ran[:]
    actions.build_retry(actor=TESTER, build=build)
    assert (finish(build).state, ran[0]) == ("SUCCEEDED", "import_items")


def promised(build: Build) -> str:
    return str(build_detail_view(Build.objects.get(pk=build.pk))["retry_from"])
