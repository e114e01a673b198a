"""The worker of a demo build puts the demo's drop into the source before it looks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import drop
from tenants.models import Tenant
from tests.factories import TESTER
from tests.workers.conftest import finish
from versions import actions
from versions.models import Build
from workers import demo_drop

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def build(films: Tenant, folders: Path, valkey: object) -> Build:
    return actions.demo_load(actor=TESTER, tenant=films)


def source(folders: Path) -> Path:
    return folders / "drops" / "films" / "fashion"


def test_it_is_delivered_and_imported(build, folders, steps_until):
    steps_until("import_items")
    assert finish(build).state == "SUCCEEDED"
    build.refresh_from_db()
    assert (build.drop["count"], build.report["import"]["items"]) == (drop.ITEMS, drop.ITEMS)
    assert [path.name for path in source(folders).iterdir()] == [build.drop_name]
    assert "Delivered the demo's drop: 10,000 items." in build.lines.values_list("text", flat=True)


def test_a_second_run_of_the_step_leaves_the_drop_as_it_is(tmp_path):
    folder = tmp_path / "one"
    drop.deliver(folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    drop.deliver(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert set(before) == {"items-000.parquet", "manifest.json"}


def test_a_source_that_cannot_be_written_to_is_the_platforms_to_mend(build, folders, monkeypatch, steps_until):
    steps_until("import_items")
    source(folders).parent.mkdir(parents=True)
    source(folders).write_text("a file where the folder should be")
    ended = finish(build)
    assert (ended.state, ended.error_reason, ended.error_owner) == ("FAILED", "demo.not_delivered", "platform")
    assert "Workers need to write there." in ended.error_message
    source(folders).unlink()
    actions.build_retry(actor=TESTER, build=ended)
    assert finish(build).state == "SUCCEEDED"


def test_a_link_out_of_the_teams_folder_is_not_followed(build, folders, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    source(folders).parent.mkdir(parents=True)
    source(folders).symlink_to(elsewhere)
    assert finish(build).error_reason == "uri.outside_root"
    assert list(elsewhere.iterdir()) == []


def test_everybody_elses_builds_are_delivered_by_themselves(films_service, folders, valkey, monkeypatch):
    monkeypatch.setattr(demo_drop, "deliver", lambda folder: pytest.fail(f"delivered to {folder}"))
    ended = finish(actions.build_request(actor=TESTER, service=films_service))
    assert ended.error_reason == "drop.not_found"
