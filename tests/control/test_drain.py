"""A version stays loaded for as long as a call to it may be under way, whatever the settings say."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.drain import DEADLINE, DEADLINE_MS_MAX, DRAIN, drain_seconds
from gateway.settings import Settings as GatewaySettings


@pytest.mark.parametrize(
    ("deadline_ms", "drain", "seconds"),
    [(None, None, 10), ("2500", None, 3), ("60000", None, 60), (None, "30", 30), ("2500", "3", 3)],
)
def test_the_drain_is_the_longest_deadline_or_what_is_asked_beyond_it(monkeypatch, deadline_ms, drain, seconds):
    environment(monkeypatch, deadline_ms, drain)
    assert drain_seconds() == seconds


@pytest.mark.parametrize(("deadline_ms", "drain"), [(None, "9"), ("60000", "10"), ("10001", "10")])
def test_a_drain_that_would_cut_calls_short_stops_the_program_and_says_why(monkeypatch, deadline_ms, drain):
    environment(monkeypatch, deadline_ms, drain)
    with pytest.raises(ImproperlyConfigured, match=f"{DRAIN} is {drain}.*{DEADLINE}"):
        drain_seconds()


def test_both_planes_have_the_same_longest_deadline_by_default():
    assert GatewaySettings.model_fields["gateway_deadline_ms_max"].default == DEADLINE_MS_MAX


def environment(monkeypatch, deadline_ms: str | None, drain: str | None) -> None:
    for name, value in ((DEADLINE, deadline_ms), (DRAIN, drain)):
        monkeypatch.setenv(name, value or "")
