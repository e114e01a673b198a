"""What pages say an action is called in a shell is what the program takes: each shown line is parsed by the program."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from django.apps import apps
from django.contrib.auth.models import User
from typer.core import TyperGroup
from typer.exceptions import TyperException

from alerts.actions import alert_raise
from catalog.actions import service_hold
from catalog.models import Service
from cli.main import app
from console.cli_lines import LINES, cli_line, words_of
from tenants.actions import key_create
from tests.console.test_pages import signed_in
from tests.factories import TESTER, make_service
from tests.support.history import activated, asked, held, made_version, refreshed
from versions.models import Build
from versions.states import BuildState

# A value of each kind that lines speak of; the names of a tenant and a service are what a shell takes as they are.
VALUES: dict[str, Any] = {
    "service": "films/movies",
    "tenant": "films",
    "number": 3,
    "hours": 1,
    "scope": "read",
    "prefix": "abcd1234",
    "overlap_seconds": 3600,
    "to": 2,
    "item": 77,
    "top_k": 10,
    "file": "service.yaml",
    "user": "bob",
    "role": "operator",
    "services_max": 20,
}
SHOWN = re.compile(r"<code data-cli>(.*?)</code>")
TAG = re.compile(r'{% cli(?:_words)? "([a-z-]+)"')
LITERAL = re.compile(r"<code[^>]*>\s*recall [a-z]")


def parsed(line: str) -> dict[str, Any]:
    """What the program makes of the line, without doing it. Raises TyperException for what it does not take."""
    program, *words = shlex.split(line)
    assert program == "recall"
    command: Any = typer.main.get_command(app)
    context, name = None, program
    while True:
        context = command.make_context(name, words, parent=context)
        words = [*context._protected_args, *context.args]
        if not isinstance(command, TyperGroup) or not words:
            assert not words, f"{words} is left over"
            return dict(context.params)
        name, command, words = command.resolve_command(context, words)


@pytest.mark.parametrize("name", LINES)
def test_the_program_takes_every_line(name: str) -> None:
    values = {word: VALUES[word] for word in words_of(name)}
    told = parsed(cli_line(name, **values))
    arrived = {str(value) for value in told.values()}
    assert {str(value) for value in values.values()} <= arrived, told


def test_a_line_that_the_program_does_not_take_is_found_out() -> None:
    for line in ("recall activates films/movies 3", "recall activate films/movies 3 --resaon x", "recall retry films"):
        with pytest.raises(TyperException):
            parsed(line)


def test_filters_become_options_that_the_program_takes() -> None:
    wanted = {"state": "OPEN", "severity": "critical", "service": "movies"}
    told = parsed(cli_line("alerts", tenant="films", options=wanted))
    assert {name: told[name] for name in wanted} == wanted


def test_what_a_shell_would_take_apart_is_quoted() -> None:
    assert cli_line("key-list", tenant="a b; c") == "recall key list --tenant 'a b; c'"


def templates() -> dict[str, str]:
    folder = Path(apps.get_app_config("console").path) / "templates"
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.html")}


def test_every_line_stands_on_a_page() -> None:
    assert {name for text in templates().values() for name in TAG.findall(text)} == set(LINES)


def test_no_page_tells_a_line_that_is_not_held_to_the_program() -> None:
    assert LITERAL.search("<code>recall demo</code>")
    assert [name for name, text in templates().items() if LITERAL.search(text)] == []


def test_the_lines_on_the_pages_are_of_what_the_page_is_about(alice: User, films_service: Service) -> None:
    activated(made_version(films_service))
    activated(made_version(refreshed(films_service)))
    made_version(films_service)
    held(asked(films_service))
    failed = asked(make_service(films_service.tenant, "shows"))
    Build.objects.filter(pk=failed.pk).update(state=BuildState.FAILED)
    service_hold(actor=TESTER, service=failed.service)
    alert_raise(service=films_service, reason="drop.late", message="Nothing came.")
    prefix = key_create(actor=TESTER, tenant=films_service.tenant, scope="read").key.prefix
    client = signed_in(alice)
    pages = (
        "/t/films/s/movies/",
        "/t/films/s/shows/",
        "/t/films/s/movies/builds/4/",
        "/t/films/s/shows/builds/1/",
        "/t/films/keys/",
        "/t/films/s/movies/connect/",
        "/alerts/?service=movies",
    )
    lines = {html.unescape(line) for page in pages for line in SHOWN.findall(client.get(page).content.decode())}
    for line in lines:
        parsed(line)
    assert {
        "recall build films/movies",
        "recall service hold films/movies --reason '...'",
        "recall service release films/shows",
        "recall activate films/movies 3 --reason '...'",
        "recall rollback films/movies --from-version 2 --reason '...'",
        "recall cancel films/movies 4",
        "recall override films/movies 4 --reason '...'",
        "recall retry films/shows 1",
        "recall traffic films/movies --hours 1",
        "recall alerts ack 1 --tenant films",
        "recall alerts --tenant films --service movies",
        f"recall key rotate {prefix} --overlap-seconds 3600 --tenant films",
        f"recall key revoke {prefix} --tenant films",
        "recall key create films/movies --scope read",
    } <= lines
