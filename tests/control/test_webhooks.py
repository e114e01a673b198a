"""A tenant's spec makes the platform call nobody whom its operator has not named."""

from __future__ import annotations

import pytest

from catalog.spec import parse_spec
from catalog.webhooks import check_allowed, check_form
from common.errors import InvalidArgument
from config.settings import _email
from tests.factories import TESTER, make_service, make_spec

FORMS = [
    "https://hooks.example.org",
    "https://hooks.example.org/recall?team=films&x=%20",
    "https://hooks.example.org:8443/recall",
    "https://192.0.2.7/",
    "https://[2001:db8::1]:8443/",
    "http://127.0.0.1:9000/hook",
    "http://localhost/hook",
    "http://[::1]:9000/",
]
NO_FORMS = [
    "",
    "hooks.example.org",
    "ftp://hooks.example.org/",
    "file:///etc/passwd",
    "https://",
    "https:///path",
    "https://user:password@hooks.example.org/",
    "https://hooks.example.org@evil.example.org/",
    "https://hooks.example.org\\@evil.example.org/",
    "https://hooks.example.org/#fragment",
    "https://hooks.example.org/a b",
    "https://hooks.example.org/\r\nHost: evil",
    "https://hooks.example.org/\n",
    "https://hooks.example.org:0/",
    "https://hooks.example.org:65536/",
    "https://hooks.exämple.org/",
    "https://hooks.example.org/" + "a" * 2_000,
    "http://hooks.example.org/",
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1.example.org/",
    "HTTPS://hooks.example.org/",
]


@pytest.mark.parametrize("url", FORMS)
def test_it_takes_what_is_a_webhook(url):
    assert check_form(url) == url
    assert parse_spec(make_spec(notify={"webhook": url})).notify.webhook == url


@pytest.mark.parametrize("url", NO_FORMS)
def test_it_refuses_what_is_none_and_names_the_field(url):
    with pytest.raises(InvalidArgument) as refused:
        parse_spec(make_spec(notify={"webhook": url}))
    assert [fault["field"] for fault in refused.value.details] == ["notify.webhook"]


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://hooks.example.org/a", ["hooks.example.org"]),
        ("https://HOOKS.example.org/a", ["hooks.Example.org"]),
        ("https://hooks.example.org:443/a", ["hooks.example.org"]),
        ("https://hooks.example.org/a", ["hooks.example.org:443"]),
        ("https://hooks.example.org:8443/a", ["other.example.org", "hooks.example.org:8443"]),
        ("http://[::1]:9000/", ["[::1]:9000"]),
    ],
)
def test_a_host_that_is_named_may_be_called(url, hosts):
    check_allowed(url, hosts)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://hooks.example.org/", []),
        ("https://hooks.example.org/", ["example.org"]),
        ("https://example.org/", ["hooks.example.org"]),
        ("https://hooks.example.org:8443/", ["hooks.example.org"]),
        ("https://hooks.example.org/", ["hooks.example.org:8443"]),
        ("https://hooks.example.org.evil.org/", ["hooks.example.org"]),
        ("http://127.0.0.1:6379/", ["127.0.0.1:9000"]),
        ("http://127.0.0.1/", ["localhost"]),
    ],
)
def test_a_host_that_is_not_named_may_not(url, hosts):
    with pytest.raises(ValueError, match="RECALL_WEBHOOK_HOSTS"):
        check_allowed(url, hosts)


@pytest.mark.django_db
def test_a_service_with_a_host_that_is_not_allowed_is_neither_made_nor_changed(films, settings):
    settings.WEBHOOK_HOSTS = []
    with pytest.raises(InvalidArgument, match="RECALL_WEBHOOK_HOSTS") as refused:
        make_service(films, "movies", notify={"webhook": "https://hooks.example.org/"})
    assert refused.value.field == "notify.webhook"
    service = make_service(films, "movies")
    from catalog.actions import service_update

    with pytest.raises(InvalidArgument, match="is not among the hosts"):
        service_update(actor=TESTER, service=service, spec={"notify": {"webhook": "https://hooks.example.org/"}})
    service.refresh_from_db()
    assert service.spec["notify"]["webhook"] is None
    settings.WEBHOOK_HOSTS = ["hooks.example.org"]
    changed = service_update(actor=TESTER, service=service, spec={"notify": {"webhook": "https://hooks.example.org/"}})
    assert changed.spec["notify"]["webhook"] == "https://hooks.example.org/"


@pytest.mark.parametrize(
    "address", ["alice", "alice@", "alice@example.org\nBcc: all@example.org", "a b@example.org", ""]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InvalidArgument) as refused:
        parse_spec(make_spec(notify={"email": ["bob@example.org", address]}))
    assert refused.value.details[0]["field"].startswith("notify.email")


def test_the_number_of_addresses_has_an_end():
    many = [f"a{n}@example.org" for n in range(21)]
    assert len(parse_spec(make_spec(notify={"email": many[:20]})).notify.email) == 20
    with pytest.raises(InvalidArgument):
        parse_spec(make_spec(notify={"email": many}))


@pytest.mark.parametrize(
    ("url", "port", "tls", "user"),
    [
        ("smtp://mail.example.org", 25, "smtp", ""),
        ("smtps://films%40x:p%3Aw@mail.example.org", 465, "smtps", "films@x"),
        ("smtp+starttls://films:pw@mail.example.org:2525", 2525, "smtp+starttls", "films"),
    ],
)
def test_a_mail_server_is_one_url(url, port, tls, user):
    found = _email(url)
    assert (found["host"], found["port"], found["tls"], found["user"]) == ("mail.example.org", port, tls, user)


@pytest.mark.parametrize("url", ["mail.example.org", "https://mail.example.org", "smtp://", "smtp://:25"])
def test_a_wrong_mail_server_stops_the_program_and_names_the_setting(url):
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured, match="RECALL_EMAIL_URL"):
        _email(url)
