"""What `auto` chooses in a whole build, and that the choice and its reason stay with the version."""

from __future__ import annotations

import pytest

from engines import registry
from tests.factories import make_service
from versions import selectors

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

YEAR = [{"name": "year", "type": "int64"}]


@pytest.mark.parametrize(
    ("attributes", "values_max", "engine", "says"),
    [
        (YEAR, 1_000, "flat", "under 1 ms"),
        ([], 100, "hnsw", "without attributes"),
        (YEAR, 100, "faiss", "may be filtered"),
    ],
)
def test_auto_goes_by_size_and_by_what_may_be_filtered(
    films, build_of, node, monkeypatch, attributes, values_max, engine, says
):
    monkeypatch.setattr(registry, "AUTO_SMALL_VALUES_MAX", values_max)
    schema = {"dimension": 4, "attributes": attributes}
    service = make_service(films, engine="auto", schema=schema, guards={"min_recall": 0}, search={"at": 10})
    build = build_of(service, "20260101", attributes={"year": list(range(60))} if attributes else None)
    assert build.state == "SUCCEEDED", build.error_message
    view = selectors.version_view(selectors.version_get(service, 1))
    assert view["engine"]["name"] == engine
    assert says in view["engine"]["reason"]
