"""What an audit calls wrong: known answers are judged over all known queries, by the limit that the check has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from replicas.audits import Auditor
from replicas.checks import QueryLimits
from replicas.loaded import LoadedVersion, load
from tests.support.artifacts import KNOWN_QUERIES, KNOWN_TOP_K, ArtifactSpec, make_artifact

ALLOWED_MISSES = int(KNOWN_QUERIES * KNOWN_TOP_K * 0.02)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedVersion:
    made = make_artifact(tmp_path, ArtifactSpec())
    return load(made.path, made.manifest_sha256, search_threads=1)


def auditor(loaded: LoadedVersion, *, misses: int) -> Auditor:
    """Of the first `misses` known queries one neighbour each is another item than it was."""
    known = loaded.artifact.known()
    assert known is not None
    rows = known[1].copy()
    for query in range(misses):
        strangers = set(range(loaded.schema.items)) - set(rows[query].tolist())
        rows[query, -1] = min(strangers)
    audited = Auditor(loaded, QueryLimits())
    audited._rows = rows
    return audited


def test_one_neighbour_in_one_query_is_no_reason_to_take_a_replica_away(loaded: LoadedVersion) -> None:
    one = auditor(loaded, misses=1)
    audits = [one.audit() for _ in range(2 * KNOWN_QUERIES)]
    assert all(audit.ok for audit in audits), [audit.error for audit in audits if not audit.ok]
    assert audits[-1].agreement == pytest.approx(1 - 1 / (KNOWN_QUERIES * KNOWN_TOP_K))


def test_audits_that_overtake_one_another_harm_none_of_them(loaded: LoadedVersion) -> None:
    """A busy replica answers an audit when its agent has given it up and asks the next."""
    one = Auditor(loaded, QueryLimits())
    with ThreadPoolExecutor(4) as threads:
        audits = list(threads.map(lambda _: one.audit(), range(400)))
    assert all(audit.ok for audit in audits), {audit.error for audit in audits}


def test_more_misses_than_the_check_allows_are_wrong_as_soon_as_they_are_met(loaded: LoadedVersion) -> None:
    one = auditor(loaded, misses=ALLOWED_MISSES + 1)
    asked = 0
    while asked <= ALLOWED_MISSES:
        audit = one.audit()
        asked += audit.queries
    assert not audit.ok
    assert "of the known neighbours were found" in audit.error


def test_another_number_of_items_is_wrong_at_once(loaded: LoadedVersion) -> None:
    shrunk = replace(loaded, schema=replace(loaded.schema, searchable_items=loaded.schema.items - 1))
    audit = Auditor(shrunk, QueryLimits()).audit()
    assert not audit.ok
    assert "the index holds" in audit.error
