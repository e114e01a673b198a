"""The commands as a person types them, on a real database; from afar over real HTTP with a key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axes.models import AccessAttempt

from accounts.selectors import must_change_password
from audit.models import AuditEvent
from cli import errors
from console.wizard.same import same
from tenants.models import ApiKey, Member, Tenant
from tests.cli.conftest import Recall
from tests.factories import make_spec

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from pytest_django.live_server_helper import LiveServer

    from catalog.models import Service

SPEC = """
name: movies
schema: {dimension: 4, metric: ip}
source: {uri: "file:movies/"}
engine: flat
"""


@pytest.fixture
def spec_file(tmp_path: Path) -> str:
    path = tmp_path / "movies.yaml"
    path.write_text(SPEC)
    return str(path)


def test_an_administrator_gets_a_generated_password_once(local: Recall) -> None:
    from django.contrib.auth.models import User

    made = local("admin", "create", "--username", "dana", "--generate", "--json").data

    dana = User.objects.get(username="dana")
    assert dana.is_superuser
    assert dana.check_password(made["password"])
    assert len(made["password"]) >= 12


def test_an_administrator_s_password_is_read_and_not_told(local: Recall) -> None:
    from django.contrib.auth.models import User

    ran = local("admin", "create", "--username", "dana", "--password-stdin", stdin="correct horse battery\n")

    assert ran.code == 0
    assert "correct" not in ran.out
    assert User.objects.get(username="dana").check_password("correct horse battery")


def test_a_weak_password_is_refused_with_the_field_named(local: Recall) -> None:
    ran = local("admin", "create", "--password-stdin", stdin="password\n")
    assert ran.error is not None
    assert ran.error.field == "password"


def test_an_administrator_is_made_only_where_the_platform_is(recall: Recall) -> None:
    ran = recall("admin", "create", "--generate")
    assert ran.code == errors.EXIT_DENIED
    assert ran.error is not None
    assert "RECALL_HOME" in ran.error.remedy


def test_who_forgot_a_password_gets_another_that_must_be_changed(local: Recall, alice: User) -> None:
    made = local("admin", "password", "alice", "--generate", "--json").data
    alice.refresh_from_db()
    assert alice.check_password(made["password"])
    assert must_change_password(alice)
    assert local("admin", "password", "nobody", "--generate").code == errors.EXIT_NOT_FOUND
    assert local("admin", "password", "alice", "--password-stdin", stdin="short\n").code == errors.EXIT_FAILED


def test_a_lock_of_sign_in_is_ended(local: Recall, alice: User) -> None:
    for address, failures in (("192.0.2.1", 5), ("198.51.100.7", 2)):
        AccessAttempt.objects.create(username="alice", ip_address=address, failures_since_start=failures)
    assert "wrong_passwords_forgotten  5" in local("admin", "unlock", "alice", "--address", "192.0.2.1").out
    assert local("admin", "unlock", "alice", "--json").data["wrong_passwords_forgotten"] == 2
    assert local("admin", "unlock", "alice", "--address", "home").error.field == "address"
    assert AuditEvent.objects.filter(verb="sign_in.unlock", actor__startswith="shell:").count() == 2


@pytest.mark.parametrize("command", ["password", "unlock"])
def test_people_are_helped_only_where_the_platform_is(recall: Recall, command: str) -> None:
    assert recall("admin", command, "alice").code == errors.EXIT_DENIED


def test_without_a_key_a_tenant_and_its_key_are_made_on_the_platform_s_machine(local: Recall) -> None:
    assert local("tenant", "create", "films", "--title", "The films team").code == 0
    made = local("key", "create", "--tenant", "films", "--scope", "manage", "--json").data

    assert ApiKey.objects.get(prefix=made["prefix"]).tenant.name == "films"
    assert made["key"].startswith(f"rk_{made['prefix']}_")
    assert AuditEvent.objects.get(verb="tenant.create").actor.startswith("shell:")


def test_a_tenant_is_made_with_its_first_owner(local: Recall, alice: User) -> None:
    assert local("tenant", "create", "films", "--owner", "alice").code == 0
    assert Member.objects.get(tenant__name="films", user=alice).role == "owner"


def test_a_quota_is_shown_and_changed(local: Recall, films: Tenant) -> None:
    changed = local("tenant", "quota", "films", "--qps-max", "500", "--json").data
    shown = local("tenant", "quota", "films")
    assert changed["qps_max"] == 500
    assert "qps_max             500" in shown.out


def test_people_come_change_their_role_and_go(local: Recall, films: Tenant) -> None:
    made = local("member", "add", "bob", "--role", "operator", "--new", "--generate", "--json").data
    assert len(made["password"]) >= 12
    assert local("member", "role", "bob", "viewer").code == 0
    assert Member.objects.get(user__username="bob").role == "viewer"
    assert [one["username"] for one in local("member", "list", "--json").data] == ["alice", "bob"]
    assert local("member", "remove", "bob").code == 0
    assert not Member.objects.filter(user__username="bob").exists()


def test_a_key_is_listed_rotated_and_revoked_and_never_shown_again(local: Recall, films: Tenant) -> None:
    made = local("key", "create", "--scope", "read", "--json").data
    listed = local("key", "list")
    rotated = local("key", "rotate", made["prefix"], "--overlap-seconds", "60", "--json").data
    local("key", "revoke", rotated["prefix"])

    assert made["prefix"] in listed.out
    assert made["key"] not in listed.out
    assert rotated["key"] != made["key"]
    assert ApiKey.objects.get(prefix=rotated["prefix"]).revoked_at is not None


def test_a_service_is_created_shown_listed_held_released_and_deleted(
    local: Recall, films: Tenant, spec_file: str
) -> None:
    assert local("service", "create", "-f", spec_file).code == 0
    shown = local("service", "show", "movies")
    assert "films/movies" in shown.out
    assert "dimension: 4" in shown.out
    assert local("service", "hold", "movies", "--reason", "a bad week", "--json").data["held"]["reason"] == "a bad week"
    assert local("service", "list", "--json").data[0]["held"]
    assert local("service", "release", "movies", "--json").data["held"] is None
    assert local("service", "delete", "movies", "--yes").code == 0
    assert local("service", "show", "movies").code == errors.EXIT_NOT_FOUND


def test_a_wrong_spec_ends_with_every_field_named(local: Recall, films: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: movies\nschema: {dimension: 0, metric: manhattan}\nsource: {uri: 'http://x/'}\n")

    ran = local("service", "create", "-f", str(path))

    assert ran.code == errors.EXIT_USAGE
    assert ran.error is not None
    assert "schema.dimension" in ran.error.appendix
    assert "schema.metric" in ran.error.appendix
    assert "source.uri" in ran.error.appendix
    assert "schema.dimension" in ran.error.message
    assert ran.error.line() == "3 fields are not right, see above."


def test_a_file_that_is_no_spec_is_refused_before_anything_is_asked(recall: Recall, tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- a\n- b\n")
    ran = recall("service", "create", "-f", str(path))
    assert ran.code in (errors.EXIT_USAGE, errors.EXIT_DENIED)


def test_apply_creates_then_changes_only_what_differs(local: Recall, films: Tenant, spec_file: str) -> None:
    first = local("service", "apply", "-f", spec_file, "--json").data
    again = local("service", "apply", "-f", spec_file, "--json").data
    Path(spec_file).write_text(SPEC + "limits: {qps: 77}\n")
    trial = local("service", "apply", "-f", spec_file, "--dry-run", "--json").data
    untouched = local("service", "show", "movies", "--json").data["limits"]["qps"]
    changed = local("service", "apply", "-f", spec_file, "--json").data

    assert first["created"]
    assert (again["created"], again["changes"]) == (False, [])
    assert trial["changes"] == [{"field": "limits.qps", "from": untouched, "to": 77}]
    assert not trial["applied"]
    assert changed["applied"]
    assert local("service", "show", "movies", "--json").data["limits"]["qps"] == 77


def test_a_build_is_asked_for_listed_and_cancelled(local: Recall, films_service: Service) -> None:
    asked = local("build", "movies", "--json").data
    listed = local("builds", "movies", "--json").data
    cancelled = local("cancel", "movies", str(asked["number"]), "--json").data

    assert asked["state"] == "PENDING"
    assert [one["number"] for one in listed] == [asked["number"]]
    assert cancelled["state"] == "CANCELLED" or cancelled["cancel_requested"]


def test_a_rollback_with_nothing_to_go_back_to_says_so(local: Recall, films_service: Service) -> None:
    ran = local("rollback", "movies", "--reason", "it is bad")
    assert ran.error is not None
    assert ran.error.reason == "NO_LIVE_VERSION"


def test_the_audit_trail_tells_who_did_what(local: Recall, films: Tenant, spec_file: str) -> None:
    local("service", "create", "-f", spec_file)
    local("service", "hold", "movies", "-r", "a bad week")
    events = local("audit", "movies", "--json").data
    assert [event["verb"] for event in events] == ["service.hold", "service.create"]
    assert events[0]["reason"] == "a bad week"


def test_it_asks_which_tenant_when_there_are_two(local: Recall, films_service: Service, books_service: Service) -> None:
    ran = local("service", "show", "movies")
    assert ran.code == errors.EXIT_USAGE
    assert ran.error is not None
    assert "books, films" in ran.error.message
    assert local("service", "show", "films/movies").code == 0
    assert local("service", "show", "movies", "--tenant", "films").code == 0


def test_from_afar_a_key_does_what_its_scope_permits_and_no_more(
    live_server: LiveServer, recall: Recall, clean_environment: pytest.MonkeyPatch, films_service: Service
) -> None:
    from tenants.actions import key_create
    from tests.factories import TESTER

    key = key_create(actor=TESTER, tenant=films_service.tenant, scope="read")
    clean_environment.setenv("RECALL_API_URL", live_server.url)
    clean_environment.setenv("RECALL_API_KEY", key.text)

    assert recall("service", "show", "movies", "--json").data["name"] == "movies"
    refused = recall("build", "movies")
    foreign = recall("service", "show", "books/novels")

    assert refused.code == errors.EXIT_DENIED
    assert refused.error is not None
    assert "scope manage" in refused.error.message
    assert foreign.code == errors.EXIT_NOT_FOUND
    clean_environment.setenv("RECALL_API_KEY", key.text[:-1] + ("a" if key.text[-1] != "a" else "b"))
    assert recall("service", "list").code == errors.EXIT_DENIED


def test_a_long_list_comes_page_by_page(local: Recall, films: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    from catalog.actions import service_create
    from tests.factories import TESTER

    monkeypatch.setattr("cli.api.PAGE_SIZE", 2)
    names = [f"movies-{number}" for number in range(5)]
    for name in names:
        service_create(actor=TESTER, tenant=films, spec=make_spec(name))
    listed = local("service", "list", "--tenant", "films", "--json").data
    assert [one["name"] for one in listed] == names


def test_a_platform_that_is_not_there_is_said_in_one_line(
    recall: Recall, clean_environment: pytest.MonkeyPatch
) -> None:
    clean_environment.setenv("RECALL_API_URL", "http://127.0.0.1:1")
    clean_environment.setenv("RECALL_API_KEY", "rk_alicekey_secret")
    ran = recall("service", "list", "--tenant", "films")
    assert ran.code == errors.EXIT_UNREACHABLE
    assert ran.error is not None
    assert "\n" not in ran.error.line()
    assert "recall status" in ran.error.line()


def test_status_of_a_home_where_nothing_runs(recall: Recall) -> None:
    for arguments in (("status", "--json"), ("--json", "status")):
        ran = recall(*arguments)
        assert (ran.code, ran.data["state"]) == (errors.EXIT_UNREACHABLE, "stopped")
    assert recall("down").code == errors.EXIT_UNREACHABLE


def test_an_inspection_says_which_newer_drops_a_build_would_pass_over(
    local: Recall, films: Tenant, tmp_path: Path, settings: Any
) -> None:
    settings.RECALL_DROPS = tmp_path
    for name in ("20261121", "20261122"):
        folder = tmp_path / "films" / "movies" / name
        folder.mkdir(parents=True)
        (folder / "items.csv").write_text("id,v0,v1\n1,0.6,0.8\n2,1,0\n")
    (tmp_path / "films" / "movies" / "20261121" / "_SUCCESS").touch()

    ran = local("source", "inspect", "file:movies/")
    (tmp_path / "films" / "movies" / "20261121" / "_SUCCESS").unlink()
    unmarked = local("source", "inspect", "file:movies/")

    assert "20261122 is newer but has no manifest.json or _SUCCESS" in ran.out
    assert "files: [items.csv]" in ran.out
    assert "metric ip: The 2 vectors that were looked at are of length 1" in " ".join(ran.err.split())
    assert "no: no manifest.json or _SUCCESS" in " ".join(unmarked.out.split())


def test_an_inspection_judges_a_sample_and_can_be_told_by_what(
    local: Recall, films: Tenant, tmp_path: Path, settings: Any
) -> None:
    settings.RECALL_DROPS = tmp_path
    folder = tmp_path / "films" / "movies" / "20261121"
    folder.mkdir(parents=True)
    (folder / "items.csv").write_text("id,genre,v0,v1\n1,noir,0.6,0.8\n2,drama,1,0\n2,drama,0,1\n")
    spec = tmp_path / "movies.yaml"
    spec.write_text("name: movies\nschema: {dimension: 3}\nsource: {uri: 'file:movies/', files: [items.csv]}\n")

    ran = local("source", "inspect", "file:movies/")
    judged = local("source", "inspect", "file:movies/", "-f", str(spec))

    words = " ".join(ran.out.split())
    assert "sample 3 rows of 1 files" in words
    assert "bad rows 1 (1 duplicate_id) " in words
    assert "items.csv row 3: duplicate_id" in words
    assert "attribute genre string, 2 different: noir, drama" in words
    assert "A build of this drop would fail" in judged.err
    spec.write_text("name: movies\nschema: {dimension: 0}\nsource: {uri: 'file:movies/'}\n")
    assert local("source", "inspect", "file:movies/", "-f", str(spec)).error.field == "schema.dimension"


def test_the_wizards_yaml_is_taken_by_create_and_found_unchanged_by_apply(
    local: Recall, films: Tenant, tmp_path: Path
) -> None:
    spec = {
        "name": "series",
        "source": {"uri": "file:series/", "files": ["items.csv"], "columns": {"id": "key", "vector": "emb"}},
        "search": {"recall_target": 0.99},
        "schema": {"metric": "l2", "dimension": 2, "id_type": "string", "attributes": [{"name": "g", "type": "bool"}]},
    }
    shown = same(tenant="films", spec=spec, build=False, drop="", api_url="http://localhost/api/v1")
    path = tmp_path / "series.yaml"
    path.write_text(shown.yaml)

    created = local("service", "create", "--tenant", "films", "-f", str(path), "--json")
    applied = local("service", "apply", "-f", str(path), "--json")

    assert (created.code, created.data["source"]["columns"]) == (0, {"id": "key", "vector": "emb"})
    assert applied.data["changes"] == []
    assert shown.cli.startswith("recall service create --tenant films -f - <<'EOF'\nname: series\n")
    piped = local("service", "apply", "-f", "-", "--json", stdin=shown.cli.split("<<'EOF'\n")[1].removesuffix("EOF\n"))
    assert piped.data["changes"] == []


def test_a_spec_file_that_is_not_there_is_told_by_its_name(local: Recall, films: Tenant, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.yaml", tmp_path):
        ran = local("service", "create", "-f", str(path))
        assert (ran.code, ran.error.field) == (errors.EXIT_USAGE, "file")
        assert str(path) in ran.error.message
