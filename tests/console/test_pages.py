"""Pages as people meet them: what they see, what they may press, and what the server refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from alerts.actions import alert_raise, alert_resolve
from alerts.models import Delivery
from catalog.actions import service_update
from catalog.models import Service
from console.views import services
from tenants.models import ApiKey, Tenant
from tenants.selectors import key_verify
from tests.factories import PASSWORD, TESTER, make_service
from tests.support.history import activated, asked, claimed, made_version, refreshed, resolved
from versions import actions
from versions.models import Activation, Build, Replica, Version
from versions.outlook import release_outlook
from versions.states import BuildState


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_signing_in_leads_to_the_services(alice: User, films_service: Service) -> None:
    client = Client()
    response = client.post("/login/", {"username": "alice", "password": PASSWORD}, follow=True)
    assert response.redirect_chain == [("/", 302)]
    assert b"movies" in response.content


def test_a_wrong_password_says_so_and_not_which_half_was_wrong(alice: User) -> None:
    client = Client()
    wrong = client.post("/login/", {"username": "alice", "password": "nonsense"})
    nobody = client.post("/login/", {"username": "nobody", "password": "nonsense"})
    assert b"do not match" in wrong.content
    assert b"do not match" in nobody.content


def test_home_shows_only_the_teams_one_is_in(alice: User, films_service: Service, books_service: Service) -> None:
    content = signed_in(alice).get("/").content.decode()
    assert "movies" in content
    assert "novels" not in content


def test_a_person_in_no_team_is_told_what_to_do(dana: User, victor: User) -> None:
    victor.memberships.all().delete()
    assert b"You are in no team yet" in signed_in(victor).get("/").content


def test_a_viewer_sees_no_button_that_changes_anything(victor: User, films_service: Service) -> None:
    content = signed_in(victor).get("/t/films/s/movies/").content.decode()
    assert "Build the newest drop" not in content
    assert "Hold" not in content


def test_a_service_says_at_its_head_with_whom_it_goes_live(alice: User, films: Tenant, films_service: Service) -> None:
    page = "/t/films/s/movies/"
    assert 'id="group"' not in signed_in(alice).get(page).content.decode()
    service_update(actor=TESTER, service=films_service, spec={"versions": {"group": "shelf"}})
    assert "alone in the group shelf" in signed_in(alice).get(page).content.decode()
    make_service(films, "series", versions={"group": "shelf"})
    head, _, _ = signed_in(alice).get(page).content.decode().partition('id="status"')
    assert "goes live together with series (group shelf)" in head


def test_a_viewer_who_presses_it_all_the_same_is_refused(victor: User, films_service: Service) -> None:
    response = signed_in(victor).post("/t/films/s/movies/build/")
    assert response.status_code == 403
    assert b"operator" in response.content
    assert Build.objects.count() == 0


def test_another_teams_pages_look_like_pages_that_do_not_exist(
    charlie: User, books: Tenant, films_service: Service
) -> None:
    client = signed_in(charlie)
    foreign, unknown = client.get("/t/films/s/movies/"), client.get("/t/nowhere/s/movies/")
    assert foreign.status_code == unknown.status_code == 404
    assert without_tokens(foreign.content) == without_tokens(unknown.content)


def test_a_build_page_asks_for_itself_until_the_build_is_over(alice: User, films_service: Service) -> None:
    client = signed_in(alice)
    client.post("/t/films/s/movies/build/")
    assert b"hx-trigger" in client.get("/t/films/s/movies/builds/1/progress/").content
    client.post("/t/films/s/movies/builds/1/cancel/")
    assert b"hx-trigger" not in client.get("/t/films/s/movies/builds/1/progress/").content


def test_a_service_is_held_and_released(alice: User, films_service: Service) -> None:
    client = signed_in(alice)
    client.post("/t/films/s/movies/hold/")
    films_service.refresh_from_db()
    assert films_service.held_at is not None
    again = client.post("/t/films/s/movies/hold/", {"reason": "mine"}, follow=True)
    assert "It is on hold already" in again.content.decode()
    client.post("/t/films/s/movies/release/", {"outlook": "Something else."})
    films_service.refresh_from_db()
    assert (films_service.held_at is None, films_service.held_reason) == (False, "")
    client.post("/t/films/s/movies/release/", {"outlook": release_outlook(films_service)})
    films_service.refresh_from_db()
    assert films_service.held_at is None


def test_the_service_page_says_which_replica_is_sick_and_what_it_serves(alice: User, films_service: Service) -> None:
    activated(made_version(films_service))
    said = {"verdict": "WRONG", "sick_reason": "WRONG", "sick_since": Now(), "withheld": True, "served_version": 7}
    Replica.objects.update(**said, agreement=0.3125, p99_ms=2.5)
    page = signed_in(alice).get("/t/films/s/movies/").content.decode()
    assert '<span class="badge tone-red">serves 7</span>' in page
    assert '<span class="badge tone-red">wrong</span>' in page
    assert "not routed" in page
    assert '<td class="number">0.313</td><td class="number">2.50</td>' in page


def test_a_version_on_its_way_out_says_until_when(alice: User, films_service: Service) -> None:
    old, *_ = [activated(made_version(films_service)) for _ in range(3)]
    actions.version_retire(version=old)
    Version.objects.filter(pk=old.pk).update(retiring_at="2026-11-21T23:47:35.5Z")
    for page in ("/t/films/s/movies/", f"/t/films/s/movies/versions/{old.number}/"):
        assert "retiring until 2026-11-22 00:47:35 UTC" in signed_in(alice).get(page).content.decode()


def test_a_held_service_says_what_its_release_will_do(alice: User, films_service: Service) -> None:
    client = signed_in(alice)
    client.post("/t/films/s/movies/hold/", {"reason": "launch week"})
    outlook = "No build waits for it. The next build that meets its guards goes live by itself."
    assert f"When you release it: {outlook}" in client.get("/t/films/s/movies/").content.decode()
    answer = client.post("/t/films/s/movies/release/", {"outlook": outlook}, follow=True)
    assert f"Released. {outlook}" in answer.content.decode()


def test_a_key_is_shown_once_and_never_again(alice: User, films: Tenant) -> None:
    client = signed_in(alice)
    response = client.post("/t/films/keys/create/", {"name": "ranker", "scope": "read", "service": ""})
    text = response.context["made"].text
    assert text in response.content.decode()
    assert "no-store" in response["Cache-Control"]
    assert text not in client.get("/t/films/keys/").content.decode()
    found = key_verify(text)
    assert found is not None
    assert found.scope == "read"


def test_a_revoked_key_opens_nothing(alice: User, films: Tenant) -> None:
    client = signed_in(alice)
    text = client.post("/t/films/keys/create/", {"scope": "read", "service": ""}).context["made"].text
    prefix = ApiKey.objects.get().prefix
    client.post(f"/t/films/keys/{prefix}/revoke/")
    assert key_verify(text) is None


def test_pages_load_nothing_from_outside(alice: User, films_service: Service) -> None:
    response = signed_in(alice).get("/t/films/s/movies/")
    assert "default-src 'self'" in response["Content-Security-Policy"]
    assert b"https://" not in response.content
    assert b"http://" not in response.content


def without_tokens(page: bytes) -> bytes:
    """The page without its CSRF tokens, which differ each time."""
    return re.sub(rb"[A-Za-z0-9]{64}", b"", page)


def test_the_query_box_arrives_with_the_first_live_version(alice: User, films_service: Service) -> None:
    client = signed_in(alice)
    before = client.get("/t/films/s/movies/status/?live=0").content
    Service.objects.update(live_version=1)
    after = client.get("/t/films/s/movies/status/?live=0").content
    assert b'id="ask"' not in before
    assert b'id="ask" hx-swap-oob="true"' in after
    assert b'id="ask"' not in client.get("/t/films/s/movies/status/?live=1").content


def test_a_build_and_its_version_show_each_figure_beside_its_limit_and_the_curve(
    alice: User, films_service: Service
) -> None:
    checks = [
        {"name": "min_recall", "what": "recall", "value": 0.97, "bound": "at least", "limit": 0.95, "unit": "",
         "verdict": "pass", "note": ""},
        {"name": "max_p99_ratio", "what": "p99", "value": 9.5, "bound": "at most", "limit": 6.25, "unit": "ms",
         "verdict": "hold", "note": "local; live version 1: 4.25 ms, asked in turns"},
    ]  # fmt: skip
    curve = [{"ef": 1250, "recall": 0.93, "ms": 0.2}, {"ef": 1600, "recall": 0.97, "ms": 0.31}]
    tune = {"at": 10, "queries": 200, "queries_source": "items", "tuned": True, "reached": False, "recall_target": 0.98,
            "effort": "ef", "search_params": {"ef": 1600}, "curve": curve}  # fmt: skip
    version = made_version(films_service, report={"tune": tune})
    Build.objects.update(report={"tune": tune, "evidence": checks})
    client = signed_in(alice)
    for page in (f"/t/films/s/movies/builds/{version.build.number}/", f"/t/films/s/movies/versions/{version.number}/"):
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get(page).content.decode()))
        assert "recall min_recall 0.97 at least 0.95 pass" in text
        assert "p99 max_p99_ratio 9.5 ms at most 6.25 ms hold local; live version 1: 4.25 ms, asked in turns" in text
        assert "1,250 0.9300 0.200 1,600 0.9700 0.310 chosen" in text
        assert "The target of 0.98 was not reached." in text


@pytest.mark.parametrize("state", [BuildState.HELD, BuildState.SUCCEEDED])
def test_the_pages_of_a_second_build_show_what_was_compared_with_the_first(
    alice: User, films_service: Service, state: str
) -> None:
    """The step that compares the items calls its section `items`."""
    activated(made_version(films_service))
    report = {"items": {"live_version": 1, "id_overlap_percent": 33.333}, "import": {"rows": 100}}
    version = made_version(films_service, report=report)
    Build.objects.filter(pk=version.build.pk).update(report=report, state=state)
    client = signed_in(alice)
    for page in ("builds/2/", "builds/2/progress/", "versions/2/"):
        response = client.get(f"/t/films/s/movies/{page}")
        assert response.status_code == 200
        text = response.content.decode()
        assert "<summary>items</summary>" in text
        assert "id_overlap_percent: 33.333" in text
        assert "<summary>import</summary>" in text


def test_who_waits_for_a_build_that_repeats_a_running_one_is_led_to_that_one(
    alice: User, films_service: Service
) -> None:
    resolved(claimed(asked(films_service)), "20260101")
    client = signed_in(alice)
    client.post("/t/films/s/movies/build/")
    claim = claimed(Build.objects.get(number=2))
    resolved(claim, "20260101")
    actions.build_stop(claim, reason="build.duplicate", message="Build 1 is of this drop.")
    waiting = client.get("/t/films/s/movies/builds/2/progress/", headers={"HX-Request": "true"})
    assert waiting["HX-Redirect"] == "/t/films/s/movies/builds/1/"
    assert b"Build 2 was not needed" in client.get("/t/films/s/movies/builds/1/").content
    page = client.get("/t/films/s/movies/builds/2/").content.decode()
    assert '<a href="/t/films/s/movies/builds/1/">See build 1</a>' in page
    assert "Follow build 1." in page
    assert "force" not in page.split("Evidence")[0]


def test_no_template_asks_a_dict_for_items_in_a_way_that_its_keys_can_answer() -> None:
    templates = list(Path(apps.get_app_config("console").path, "templates").rglob("*.html"))
    assert templates
    loops = [loop for template in templates for loop in re.findall(r"{%\s*for [^%]*%}", template.read_text())]
    assert [loop for loop in loops if re.search(r"\.(items|keys|values)\b", loop)] == []


def test_a_path_that_is_no_page_is_told_in_the_frame_with_a_way_home(alice: User) -> None:
    response = signed_in(alice).get("/nowhere/", headers={"X-Request-Id": "request-0404"})
    text = response.content.decode()
    assert response.status_code == 404
    assert "There is no such page." in text
    assert "request-0404" in text
    assert '<a href="/">' in text
    assert "Sign out" in text


def test_a_page_that_failed_unforeseen_is_told_in_the_frame_even_without_a_database(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OperationalError("secret of the database")

    client = signed_in(alice)
    client.raise_request_exception = False
    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", broken)
    response = client.get("/", headers={"X-Request-Id": "request-0500"})
    text = response.content.decode()
    assert response.status_code == 500
    assert "Something failed that should not." in text
    assert "request-0500" in text
    assert '<a class="navbar-brand brand" href="/">' in text
    assert "secret" not in text


def test_alerts_stand_on_a_page_of_their_own_and_their_number_on_every_page(
    alice: User, films_service: Service, books_service: Service
) -> None:
    alert_raise(service=films_service, reason="drop.late", message="Nothing <b>came</b>.", evidence={"hours": 26})
    alert_raise(service=books_service, reason="replica.wrong", message="Not Alice's.")
    client = signed_in(alice)
    assert "1 open" in client.get("/").content.decode()
    content = client.get("/alerts/").content.decode()
    assert "drop.late" in content
    assert "Nothing &lt;b&gt;came" in content
    assert "replica.wrong" not in content
    response = client.post("/t/films/alerts/1/acknowledge/", follow=True)
    content = response.content.decode()
    assert response.redirect_chain == [("/alerts/", 302)]
    assert "alice looks after it" in content
    assert "1 open" not in content


def test_a_viewer_sees_alerts_and_no_button(victor: User, films_service: Service) -> None:
    alert_raise(service=films_service, reason="drop.late", message="Nothing came.")
    client = signed_in(victor)
    assert b"Acknowledge" not in client.get("/alerts/").content
    assert client.post("/t/films/alerts/1/acknowledge/").status_code == 403


def test_who_is_told_and_what_went_wrong_stands_beside_the_alert(alice: User, films_service: Service) -> None:
    alert = alert_raise(service=films_service, reason="drop.late", message="Nothing came.")
    Delivery.objects.create(
        alert=alert, event="opened", channel="webhook", target="https://secret", error="It is away."
    )
    content = signed_in(alice).get("/alerts/").content.decode()
    assert "opened by webhook: pending" in content
    assert "It is away." in content
    assert "https://secret" not in content


def test_a_service_page_costs_no_query_for_each_version_build_or_replica(alice: User, films_service: Service) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked_for:
            assert client.get("/t/films/s/movies/").status_code == 200
        return len(asked_for)

    client = signed_in(alice)
    for _ in range(3):
        activated(made_version(refreshed(films_service)))
    few = queries()
    for _ in range(6):
        activated(made_version(refreshed(films_service)))
    assert queries() <= few


def test_the_way_back_stands_on_the_page_however_many_versions_are_newer(
    alice: User, films_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        activated(made_version(refreshed(films_service)))
    for _ in range(4):
        made_version(films_service)
    monkeypatch.setattr(services, "VERSIONS_SHOWN_MAX", 2)
    page = signed_in(alice).get("/t/films/s/movies/").content.decode()
    assert "Roll back to version 1" in page
    assert "2 older versions left out" in page
    assert "Activate version 4" not in page
    assert "Activate version 4" in signed_in(alice).get("/t/films/s/movies/?history=all").content.decode()


def test_the_service_page_follows_a_switch_to_its_end_and_tells_of_a_load(alice: User, films_service: Service) -> None:
    older = activated(made_version(films_service))
    activated(made_version(refreshed(films_service)))
    client = signed_in(alice)
    assert 'hx-trigger="every 2s"' in client.get("/t/films/s/movies/").content.decode()
    Activation.objects.update(state="COMPLETE")
    assert 'hx-trigger="every 2s"' not in client.get("/t/films/s/movies/").content.decode()
    Version.objects.filter(pk=older.pk).update(cold_at=Now(), unrouted_at=Now())
    assert "as soon as it is loaded and checked" in client.get("/t/films/s/movies/").content.decode()
    client.post("/t/films/s/movies/rollback/", {"from_version": "2", "to_version": "1"})
    page = client.get("/t/films/s/movies/status/").content.decode()
    assert "It is being loaded, warmed up and checked now" in page
    assert 'hx-trigger="every 2s"' in page
    assert 'id="service-head" data-refreshed hx-swap-oob="true"' in page


def test_a_version_whose_replicas_are_lost_is_said_to_be_loaded_first(alice: User, films_service: Service) -> None:
    for _ in range(2):
        activated(made_version(refreshed(films_service)))
    Replica.objects.filter(version__number=1).update(state="LOADING")
    page = signed_in(alice).get("/t/films/s/movies/").content.decode()
    assert "Version 1 answers as soon as it is loaded and checked" in page


def test_a_rollback_to_a_version_that_is_not_well_is_told_and_needs_a_tick(alice: User, films_service: Service) -> None:
    for _ in range(2):
        activated(made_version(refreshed(films_service)))
    client, asked_for = signed_in(alice), {"from_version": "2", "to_version": "1"}
    assert 'name="anyway"' not in client.get("/t/films/s/movies/").content.decode()
    Replica.objects.filter(version__number=1).update(sick_reason="AWAY", sick_since=Now())
    page = client.get("/t/films/s/movies/").content.decode()
    assert "<td>is well</td>" in page
    assert "the server that its engine asks is away, for 0 s" in page
    assert "Go to version 1 anyway" in page
    refused = client.post("/t/films/s/movies/rollback/", asked_for, follow=True).content.decode()
    assert "nothing was changed" in refused
    assert refreshed(films_service).live_version == 2
    client.post("/t/films/s/movies/rollback/", {**asked_for, "anyway": "on"})
    assert refreshed(films_service).live_version == 1


def test_a_live_version_that_is_down_stands_above_everything_with_the_way_out(
    alice: User, films_service: Service
) -> None:
    for _ in range(2):
        activated(made_version(refreshed(films_service)))
    client = signed_in(alice)

    def banner() -> str:
        return client.get("/t/films/s/movies/status/").content.decode().partition('id="service-head"')[2]

    alert_raise(service=films_service, reason="replica.slow", subject="r1", message="It is slow.")
    assert "alert-danger" not in banner(), "a warning does not stand above everything"
    alert_raise(
        service=films_service, reason="engine.unavailable", subject="version 2", message="Blue.", severity="critical"
    )
    assert "<strong>engine.unavailable</strong> version 2, for 0 s: Blue." in banner()
    assert "/alerts/?team=films&amp;service=movies&amp;severity=critical" in banner()
    assert "A rollback goes to version 1, which is well." in banner()
    Replica.objects.filter(version__number=1).update(sick_reason="AWAY", sick_since=Now())
    assert "A rollback would go to version 1, but that has answered nobody" in banner()
    Version.objects.filter(number=1).update(cold_at=Now(), unrouted_at=Now())
    assert "version 1, which is loaded and checked before it answers" in banner()
    page = client.get("/t/films/s/movies/").content.decode()
    assert "<td>is loaded and checked first</td>" in page
    assert 'name="anyway"' not in page, "it is checked, and never refused"
    Version.objects.filter(number=1).update(bad_at=Now())
    assert "There is no version to roll back to" in banner()
    alert_resolve(service=films_service, reason="engine.unavailable", subject="version 2")
    assert "There is no version to roll back to" not in banner()


def test_a_form_that_does_not_say_what_its_page_told_is_refused(alice: User, films_service: Service) -> None:
    for _ in range(2):
        activated(made_version(refreshed(films_service)))
    client = signed_in(alice)
    for path, sent in (("rollback/", {"from_version": "2", "to_version": "x"}), ("versions/1/activate/", {})):
        answer = client.post(f"/t/films/s/movies/{path}", sent, follow=True)
        assert "Reload the page, and press again." in answer.content.decode()
    assert refreshed(films_service).live_version == 2


def test_who_presses_after_the_session_ended_is_led_back_to_the_page_and_told(films_service: Service) -> None:
    page = "http://testserver/t/films/s/movies/"
    answer = Client().post("/t/films/s/movies/rollback/", headers={"Referer": page}, follow=True)
    assert answer.redirect_chain == [("/login/?next=http%3A%2F%2Ftestserver%2Ft%2Ffilms%2Fs%2Fmovies%2F", 302)]
    assert "Nothing was done: sign in, and press it again." in answer.content.decode()
    away = Client().post("/t/films/s/movies/rollback/", headers={"Referer": "https://elsewhere.example/"})
    assert away["Location"] == "/login/?next=%2F"


def test_a_form_of_an_earlier_sign_in_is_told_in_the_frame(alice: User, films_service: Service) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    answer = client.post("/t/films/s/movies/hold/")
    assert answer.status_code == 403
    assert "Go back, reload the page, and press again." in answer.content.decode()
    assert refreshed(films_service).held_at is None
