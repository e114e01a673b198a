"""What a page shows of a step that works: rows a second, and the seconds left."""

from __future__ import annotations

import pytest

from tests.support.history import asked, claimed
from versions import actions
from versions.models import BuildStep
from workers import context
from workers.context import BuildContext, RowProgress
from workers.lease import Lease

pytestmark = pytest.mark.django_db


class Clock:
    """Stands in for `time.monotonic`."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(context, "time", clock)
    return clock


@pytest.fixture
def progress(films_service, clock) -> RowProgress:
    claim = claimed(asked(films_service))
    step = actions.step_start(claim, "build_index")
    assert step.started_at is not None
    return RowProgress(BuildContext(claim, step.build, "build_index", step.started_at, Lease(claim)))


def test_rows_a_second_and_seconds_left_are_told(progress, clock):
    clock.now += 10
    progress(20_000, 100_000)
    step = BuildStep.objects.get(name="build_index")
    assert (step.progress, step.rate, step.eta_seconds) == (0.2, 2_000, 40)
    assert step.detail == "20,000 of 100,000 rows"


def test_it_is_written_at_most_once_a_second(progress, clock):
    clock.now += 10
    progress(20_000, 100_000)
    clock.now += 0.5
    progress(30_000, 100_000)
    assert BuildStep.objects.get(name="build_index").progress == 0.2
    clock.now += 0.5
    progress(40_000, 100_000)
    assert BuildStep.objects.get(name="build_index").progress == 0.4


def test_without_a_known_end_only_the_rate_is_told(progress, clock):
    clock.now += 10
    progress(500, 0)
    step = BuildStep.objects.get(name="build_index")
    assert (step.progress, step.rate, step.eta_seconds, step.detail) == (None, 50, None, "500 rows")
