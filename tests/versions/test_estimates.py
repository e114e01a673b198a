"""What is told of a service before it is built: engine, memory, and what the quota leaves."""

from __future__ import annotations

from catalog.actions import spec_check
from engines import registry
from tenants.actions import quota_update
from tests.factories import TESTER, make_spec
from tests.support.history import activated, made_version
from versions.estimates import estimate
from versions.sizes import Plan, formula


def complete(tenant, **blocks):
    return spec_check(tenant=tenant, spec=make_spec("series", **{"engine": "auto", **blocks})).stored()


def test_it_tells_the_engine_with_its_reason_and_the_sizes_that_admission_predicts(films):
    spec = complete(films, schema={"dimension": 64, "metric": "ip"})
    found = estimate(tenant=films, spec=spec, items=1_000_000, row_bytes=24)
    choice = registry.choose(1_000_000, 64, filterable=False)
    assert (found.engine, found.reason) == (choice.name, choice.reason)
    plan = Plan(found.engine, found.params, spec["schema"], 1_000_000, 1_000_000, 1_000_000 * (64 * 4 + 24))
    sizes = formula(plan)
    assert (found.build_bytes, found.replica_bytes, found.stored_bytes) == (sizes.build, sizes.replica, sizes.artifact)


def test_an_engine_that_somebody_named_has_no_reason_of_ours(films):
    name = registry.names()[-1]
    found = estimate(tenant=films, spec=complete(films, engine=name), items=10, row_bytes=24)
    assert (found.engine, found.reason) == (name, "")
    assert found.params == registry.describe(name).params_model().model_dump(mode="json")


def test_hot_versions_and_replicas_multiply_what_serves_and_a_switch_has_one_more(films):
    hot = complete(films, replicas={"count": 2}, versions={"keep": 3})
    found = estimate(tenant=films, spec=hot, items=1_000, row_bytes=24)
    assert found.serving_bytes == 6 * found.replica_bytes
    assert found.switching_bytes == 8 * found.replica_bytes
    cold = estimate(tenant=films, spec=complete(films, versions={"standby": "cold"}), items=1_000, row_bytes=24)
    assert (cold.loaded_versions, cold.switching_bytes) == (1, 2 * cold.replica_bytes)


def test_it_says_what_is_left_of_each_limit_and_what_does_not_fit(films, films_service):
    version = activated(made_version(films_service))
    quota_update(actor=TESTER, tenant=films, services_max=1, items_max=version.items + 500, memory_bytes_max=1)
    films.refresh_from_db()
    shares = {
        share.name: share for share in estimate(tenant=films, spec=complete(films), items=600, row_bytes=24).shares
    }
    assert (shares["items_max"].left, shares["items_max"].need, shares["items_max"].fits) == (500, 600, False)
    assert (shares["services_max"].used, shares["services_max"].fits) == (1, False)
    assert not shares["memory_bytes_max"].fits
    assert shares["qps_max"].fits
    assert shares["build_memory_bytes_max"].fits
