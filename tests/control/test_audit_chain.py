"""The audit trail can be added to and not changed, and whoever changes it all the same is found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction

from audit import guards
from audit.actions import record
from audit.chain import canonical
from audit.models import AppendOnly, AuditEvent, AuditHead
from audit.selectors import Verification, verify
from tests.control.race_of_appends import ROLLBACK_EVERY
from tests.factories import TESTER
from tests.support import postgres

ROOT = Path(__file__).resolve().parents[2]
RACE_SECONDS_MAX = 240
RACERS, TURNS = 4, 25
REWRITES = [
    "UPDATE audit_auditevent SET actor = 'charlie'",
    "DELETE FROM audit_auditevent",
    *(["TRUNCATE audit_auditevent"] if connection.vendor == "postgresql" else []),
]


def note(count: int = 5) -> list[AuditEvent]:
    return [record(actor=TESTER, verb="test.note", tenant="films", target=str(n), after={"n": n}) for n in range(count)]


def raw(sql: str, *values: object) -> None:
    """What somebody with a password of the database can do."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def fault_at(found: Verification) -> int:
    assert found.fault is not None, "the chain was taken for whole"
    return found.fault.position


@pytest.mark.django_db
def test_an_untouched_chain_holds_and_says_where_it_ends():
    made = note()
    found = verify()
    assert (found.events, found.head, found.fault) == (5, made[-1].digest, None)
    assert [event.position for event in made] == [1, 2, 3, 4, 5]
    assert [event.previous for event in made[1:]] == [event.digest for event in made[:-1]]


@pytest.mark.django_db
def test_an_empty_chain_holds():
    assert (verify().events, verify().fault) == (0, None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("column", "value"),
    [("actor", "charlie"), ("verb", "service.hold"), ("reason", "none"), ("after", '{"n": 9}'), ("tenant", "books")],
)
def test_an_edited_event_is_the_first_that_does_not_hold(column, value):
    made = note()
    raw(f"UPDATE audit_auditevent SET {column} = %s WHERE id = %s", value, made[2].pk)  # noqa: S608 - a column
    found = verify()
    assert fault_at(found) == 3
    assert found.events == 2
    assert "was changed" in found.fault.message


@pytest.mark.django_db
def test_an_event_that_was_dated_back_is_found():
    made = note()
    raw("UPDATE audit_auditevent SET at = %s WHERE id = %s", made[2].at - timedelta(microseconds=1), made[2].pk)
    assert fault_at(verify()) == 3


@pytest.mark.django_db
def test_a_removed_event_is_named_by_its_place():
    made = note()
    raw("DELETE FROM audit_auditevent WHERE id = %s", made[2].pk)
    found = verify()
    assert fault_at(found) == 3
    assert "event 3 was removed" in found.fault.message


@pytest.mark.django_db
def test_events_cut_off_the_end_are_found():
    made = note()
    raw("DELETE FROM audit_auditevent WHERE id >= %s", made[3].pk)
    found = verify()
    assert (fault_at(found), found.fault.event) == (4, None)
    assert "Events 4 to 5 were removed from the end" in found.fault.message


@pytest.mark.django_db
def test_an_event_put_in_the_place_of_another_is_found():
    made = note()
    raw("UPDATE audit_auditevent SET position = position + 100 WHERE id >= %s", made[3].pk)
    _forge(made[2], position=4)
    assert fault_at(verify()) == 4


@pytest.mark.django_db
def test_an_event_put_behind_the_end_is_found():
    made = note()
    _forge(made[-1], position=6)
    found = verify()
    assert fault_at(found) == 6
    assert "put in behind the end" in found.fault.message


@pytest.mark.django_db
def test_who_recomputes_digests_without_the_platform_s_key_is_found_out(settings):
    made = note()
    kept, settings.KEY_PEPPER = settings.KEY_PEPPER, "another-pepper-of-32-characters-or-more"
    event = AuditEvent(**{f.attname: getattr(made[-1], f.attname) for f in AuditEvent._meta.fields if f.name != "id"})
    from audit.chain import digest_of

    event.actor = "charlie"
    forged = digest_of(event, position=5, previous=made[3].digest)
    settings.KEY_PEPPER = kept
    raw("UPDATE audit_auditevent SET actor = 'charlie', digest = %s WHERE id = %s", forged, made[-1].pk)
    AuditHead.objects.update(digest=forged)
    assert fault_at(verify()) == 5


@pytest.mark.django_db
def test_a_head_that_was_lost_is_found_again_at_the_last_event():
    note(2)
    AuditHead.objects.all().delete()
    note(1)
    assert (verify().events, verify().fault) == (3, None)


@pytest.mark.django_db
def test_an_event_of_what_did_not_happen_leaves_no_gap():
    note(1)
    with transaction.atomic():
        note(1)
        transaction.set_rollback(True)
    note(1)
    assert (verify().events, verify().fault) == (2, None)


@pytest.mark.django_db
def test_any_json_has_the_same_digest_before_and_after_the_database():
    odd = {
        "floats": [1.0, 1e22, 1e-7, 0.1, -0.0],
        "text": "ö\u2028\U0001f600",
        "none": None,
        "z": {"b": 1, "a": [True]},
    }
    record(actor=TESTER, verb="test.odd", before=odd, after={1: ("a", 2)})
    assert verify().fault is None
    assert canonical({"b": 1, "a": 2.0}) == b'{"a":2,"b":1}'


@pytest.mark.django_db
def test_the_models_refuse_to_change_or_delete():
    event = note(1)[0]
    everything = AuditEvent.objects.all()
    refused: list[Callable[[], object]] = [
        event.save,
        event.delete,
        everything.delete,
        lambda: everything.update(actor="charlie"),
        lambda: AuditEvent.objects.bulk_update([event], ["actor"]),
        lambda: AuditEvent.objects.bulk_create([event]),
    ]
    for attempt in refused:
        with pytest.raises(AppendOnly, match="append-only"):
            attempt()
    assert verify().events == 1


@pytest.fixture
def guarded(db) -> Iterator[None]:
    """As on a real platform; the transaction of the test takes the triggers away again."""
    guards.install(connection)
    yield
    guards.remove(connection)


@pytest.mark.parametrize("sql", REWRITES)
def test_the_database_refuses_to_change_or_delete(guarded, sql):
    note(1)
    with pytest.raises(DatabaseError, match=guards.REFUSAL), transaction.atomic():
        raw(sql)
    assert verify().fault is None
    assert note(1)[0].position == 2


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> Callable[..., subprocess.Popen[str]]:
    """Starts tests.control.race_of_appends on a real, empty database of its own."""
    environment = {**os.environ, "RECALL_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"}
    environment.pop("RECALL_DATABASE_URL", None)
    if request.param == "postgresql":
        environment["RECALL_DATABASE_URL"] = postgres.url("django", "race_of_appends")

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.control.race_of_appends", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)

    return start


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=RACE_SECONDS_MAX)
    assert process.returncode == 0, err
    return out


@pytest.mark.servers
def test_processes_that_append_and_raise_at_once_neither_fork_the_chain_nor_double_an_alert(tmp_path, database):
    ended(database("prepare"))
    go = tmp_path / "go"
    racers = [database("run", str(TURNS), str(go)) for _ in range(RACERS)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n", racer.stderr.read()
    go.touch()
    for racer in racers:
        ended(racer)
    found = json.loads(ended(database("tell")))
    done = RACERS * (TURNS - TURNS // ROLLBACK_EVERY)
    assert (found["turns"], found["verified"], found["fault"], found["raised"]) == (done, True, None, done)
    assert found["unresolved"] <= 1
    assert found["numbers"] == list(range(1, len(found["numbers"]) + 1))
    assert len(found["numbers"]) > 1


@pytest.mark.servers
def test_events_from_before_the_chain_are_chained_by_the_upgrade(database):
    ended(database("upgrade", "7"))
    found = json.loads(ended(database("tell")))
    assert (found["verified"], found["fault"], found["old"]) == (True, None, list(range(1, 8)))


def _forge(like: AuditEvent, *, position: int) -> None:
    """A copy of an event at another place, as INSERT would make it."""
    fields = [field for field in AuditEvent._meta.fields if field.name != "id"]
    names = ", ".join(f'"{field.column}"' for field in fields)
    told = {**{field.name: getattr(like, field.attname) for field in fields}, "position": position}
    values = [field.get_db_prep_save(told[field.name], connection) for field in fields]
    marks = ", ".join(["%s"] * len(values))
    raw(f"INSERT INTO audit_auditevent ({names}) VALUES ({marks})", *values)  # noqa: S608 - names of columns
