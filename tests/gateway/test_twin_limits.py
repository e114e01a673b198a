"""Limits that gateway and replica both know, though neither imports the other: what one lets by, the other takes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway import checks
from replicas import items
from replicas.checks import QueryLimits
from replicas.filters import limits as filter_limits
from replicas.settings import HostSettings

# Each with the most that it may be set to: gateways refuse what is above, whatever a replica would take.
SETTINGS = [
    ("replica_vectors_max", checks.QUERY_VECTORS_MAX),
    ("replica_exclude_ids_max", checks.EXCLUDED_IDS_MAX),
]


def test_a_filter_and_a_look_up_are_as_long_here_as_there() -> None:
    assert checks.FILTER_BYTES_MAX == filter_limits.BYTES_MAX
    assert checks.GET_ITEMS_IDS_MAX == items.ITEMS_MAX


def test_a_replica_takes_what_gateways_let_through() -> None:
    plain = QueryLimits()
    assert plain.vectors_max == checks.QUERY_VECTORS_MAX
    assert plain.exclude_ids_max == checks.EXCLUDED_IDS_MAX


@pytest.mark.parametrize(("setting", "most"), SETTINGS)
def test_a_replica_may_take_less_and_is_not_set_to_what_gateways_refuse(
    setting: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(HostSettings(), setting) == most
    monkeypatch.setenv(f"RECALL_{setting.upper()}", "1")
    assert getattr(HostSettings(), setting) == 1
    monkeypatch.setenv(f"RECALL_{setting.upper()}", str(most + 1))
    with pytest.raises(ValidationError, match=f"less than or equal to {most}"):
        HostSettings()
