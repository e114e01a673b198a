"""The whole way with a real agent and real replicas."""

from __future__ import annotations

import time

import pytest

from tests.factories import TESTER, make_service
from tests.support.history import refreshed
from tests.support.nodes import running_node
from versions import actions, selectors
from versions.models import Replica
from workers import reports, sweep

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

GONE_SECONDS_MAX = 60


def test_drops_become_live_on_a_real_node_and_old_versions_leave_it(films, build_of, valkey, tmp_path, settings):
    settings.RETIRE_DRAIN_SECONDS = 0
    engine = {"name": "hnsw", "params": {"M": 8, "ef_construction": 40}}
    service = make_service(films, engine=engine, search={"at": 10}, guards={"max_p99_ratio": None})
    with running_node(tmp_path / "node", valkey):
        builds = [build_of(service, f"2026010{number}", items=500 + number) for number in (1, 2, 3)]
        assert [build.state for build in builds] == ["SUCCEEDED"] * 3, [build.error_message for build in builds]
        version = selectors.live_version(refreshed(service))
        assert version is not None
        assert (version.number, version.p99_ms is not None) == (3, True)
        assert builds[2].report["replicas"]["local"]["agreement"] >= 0.98
        checks = {each["what"]: each for each in builds[2].report["evidence"]}
        assert "ms, asked in turns; calls timed in turns: " in checks["p99"]["note"]
        assert checks["p99"]["value"] > 0
        assert checks["sampled rows found on each replica"]["value"] == 1.0
        # Other drops of the same size are other vectors under the same ids.
        assert 0 < checks["overlap with live at 10"]["value"] < 1
        held = Replica.objects.get(version__number=3).rss_bytes
        assert 0.5 < held / builds[2].report["admit"]["predicted"]["replica"] <= 1.0, "what was admitted was enough"
        actions.version_rollback(actor=TESTER, service=service, from_version=3)
        assert refreshed(service).live_version == 2
        assert selectors.version_get(service, 1).state == "RETIRING"
        for _ in range(2):
            sweep.retire_versions()
        give_up_at = time.monotonic() + GONE_SECONDS_MAX
        while Replica.objects.get(version__number=1).state != "GONE" and time.monotonic() < give_up_at:
            reports.collect()
            time.sleep(0.05)
        states = dict(Replica.objects.values_list("version__number", "state"))
    assert states == {1: "GONE", 2: "READY", 3: "READY"}
