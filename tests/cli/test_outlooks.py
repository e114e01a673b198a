"""recall traffic, and --dry-run that tells engine, memory and quota."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog.models import Service
from cli import errors
from cli.sparks import BARS, sparkline
from engines import registry
from tenants.actions import quota_update
from tenants.models import Tenant
from tests.cli.conftest import Recall
from tests.console.series import write_series
from tests.factories import TESTER
from tests.support.history import activated, made_version
from tests.support.traffic import asked, calls

SERIES = """
name: series
schema: {dimension: 8, metric: ip}
source: {uri: "file:series/"}
"""


@pytest.fixture
def spec_file(tmp_path: Path, settings: Any) -> str:
    """Of a service whose source holds a drop of 60 items."""
    settings.RECALL_DROPS = tmp_path
    write_series(tmp_path)
    path = tmp_path / "series.yaml"
    path.write_text(SERIES)
    return str(path)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([0, 1, 2, 8], BARS[0] + BARS[1] + BARS[2] + BARS[7]),
        ([None, 3.5, None], " " + BARS[7] + " "),
        ([0, 0], BARS[0] * 2),
        ([None], " "),
        ([], ""),
    ],
)
def test_a_sparkline_is_a_bar_for_each_value_from_nought_to_the_greatest(values: list[Any], line: str) -> None:
    assert sparkline(values) == line


def test_traffic_is_a_line_of_bars_for_each_figure(local: Recall, films_service: Service) -> None:
    activated(made_version(films_service))
    asked(films_service, calls(600, codes={"OK": 570, "UNAVAILABLE": 30}))
    ran = local("traffic", "movies")
    lines = {line.split("  ")[0].strip(): line for line in ran.out.splitlines()}
    assert {"queries a second", "p50 ms", "p95 ms", "p99 ms", "UNAVAILABLE, calls", "memory"} <= set(lines)
    assert BARS[7] in lines["queries a second"]
    assert lines["UNAVAILABLE, calls"].split()[-2:] == ["30", "30"]
    assert "activate – -> 1 by" in ran.err


def test_nobody_called_is_said(local: Recall, films_service: Service) -> None:
    assert "Nobody called in this time." in local("traffic", "movies").err


def test_traffic_for_programs_is_what_rest_says(local: Recall, films_service: Service) -> None:
    asked(films_service, calls(600))
    told = local("traffic", "movies", "--hours", "24", "--points", "8640", "--json").data
    assert told["step_seconds"] == 10
    assert sum(point["queries_per_second"] for point in told["points"]) == 60.0
    assert local("traffic", "nothing").code == errors.EXIT_NOT_FOUND
    assert local("traffic", "movies", "--hours", "25").code == errors.EXIT_USAGE


def test_a_dry_run_of_create_tells_engine_memory_and_quota_and_makes_nothing(
    local: Recall, films: Tenant, spec_file: str
) -> None:
    ran = local("service", "create", "-f", spec_file, "--dry-run")
    assert ran.code == 0
    assert "items      60" in ran.out
    assert "because" in ran.out
    assert "while a new version is loaded" in ran.out
    assert "queries a second of one service" in ran.out
    told = local("service", "create", "-f", spec_file, "--dry-run", "--items", "1000000", "--json").data
    assert (told["estimate"]["items"], told["fits"]) == (1_000_000, True)
    assert not Service.objects.exists()


def test_what_does_not_fit_is_told_with_the_remedy(local: Recall, films: Tenant, spec_file: str) -> None:
    quota_update(actor=TESTER, tenant=films, items_max=10)
    ran = local("service", "create", "-f", spec_file, "--dry-run")
    assert "(items_max) does not fit. Ask a platform administrator" in ran.err


def test_a_dry_run_of_a_faulty_spec_fails_as_creating_it_would(local: Recall, films: Tenant, spec_file: str) -> None:
    Path(spec_file).write_text(SERIES.replace("dimension: 8", "dimension: 0"))
    for arguments in (("create", "--dry-run"), ("create",), ("apply", "--dry-run")):
        ran = local("service", *arguments, "-f", spec_file)
        assert ran.error is not None
        assert (ran.code, ran.error.field) == (errors.EXIT_USAGE, "schema.dimension")


def test_a_dry_run_warns_when_searches_that_stay_in_memory_are_going_to_ask_a_server(
    local: Recall, films: Tenant, spec_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "own=http://127.0.0.1:1")
    local("service", "create", "-f", spec_file)
    [remote] = registry.remote_names()
    arguments = ("service", "apply", "-f", spec_file, "--dry-run")
    Path(spec_file).write_text(f"{SERIES}engine: {remote}\n")
    first = local(*arguments, "--json").data
    assert first["outlook"]["warnings"] == [], "nothing is live that it could be compared with"
    activated(made_version(Service.objects.get()))
    said = " ".join(local(*arguments).err.split())
    assert f"warning: {remote} asks a server for each search, and version 1, which is live, is searched in" in said
    assert "guards.max_p99_ratio (1.3) may hold the first build. Override that build once" in said
    Path(spec_file).write_text(f"{SERIES}engine: {remote}\nguards: {{max_p99_ratio: null}}\n")
    assert local(*arguments, "--json").data["outlook"]["warnings"] == []
    Path(spec_file).write_text(f"{SERIES}engine: flat\n")
    assert local(*arguments, "--json").data["outlook"]["warnings"] == []


def test_a_dry_run_of_apply_tells_what_changes_and_what_it_means(local: Recall, films: Tenant, spec_file: str) -> None:
    local("service", "create", "-f", spec_file)
    Path(spec_file).write_text(SERIES + "limits: {qps: 77}\n")
    told = local("service", "apply", "-f", spec_file, "--dry-run", "--json").data
    assert (told["applied"], told["created"]) == (False, False)
    assert [change["field"] for change in told["changes"]] == ["limits.qps"]
    assert told["outlook"]["exists"]
    assert told["outlook"]["estimate"]["items"] == 60
    ran = local("service", "apply", "-f", spec_file, "--dry-run")
    assert "limits.qps: 1000 -> 77" in ran.out
    assert "while a new version is loaded" in ran.out
    assert Service.objects.get().spec["limits"]["qps"] == 1000
