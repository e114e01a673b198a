"""The cast. Nothing here touches the database unless a test asks for one of them.

Alice owns the tenant `films`, Bob is its operator, Victor its viewer. Charlie owns the tenant `books` and must never
see anything of films. Dana is a platform administrator and a member of nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.db import connection

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from pytest_django.plugin import DjangoDbBlocker

    from catalog.models import Service
    from tenants.models import Tenant
    from tests.api.gateway import RunningGateway


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start servers come first: they are the long ones, and at the end short ones fill both workers.

    By itself pytest-xdist begins with the files that have the most tests, and ends with a minute for a single one.
    """
    starts_servers = {item.path for item in items if item.get_closest_marker("servers")}
    items.sort(key=lambda item: item.path not in starts_servers)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The test database, in which the audit trail can be emptied after a test; its own tests put the guards back."""
    from audit import guards

    with django_db_blocker.unblock():
        guards.remove(connection)


@pytest.fixture
def alice(db: None) -> User:
    from tests.factories import make_user

    return make_user("alice")


@pytest.fixture
def films(alice: User) -> Tenant:
    from tests.factories import make_tenant

    return make_tenant("films", owner=alice)


@pytest.fixture
def bob(films: Tenant) -> User:
    from tests.factories import make_member, make_user

    user = make_user("bob")
    make_member(films, user, "operator")
    return user


@pytest.fixture
def victor(films: Tenant) -> User:
    from tests.factories import make_member, make_user

    user = make_user("victor")
    make_member(films, user, "viewer")
    return user


@pytest.fixture
def charlie(db: None) -> User:
    from tests.factories import make_user

    return make_user("charlie")


@pytest.fixture
def books(charlie: User) -> Tenant:
    from tests.factories import make_tenant

    return make_tenant("books", owner=charlie)


@pytest.fixture
def dana(db: None) -> User:
    from tests.factories import make_user

    return make_user("dana", admin=True)


@pytest.fixture
def films_service(films: Tenant) -> Service:
    """Alice's service `films/movies`, never built."""
    from tests.factories import make_service

    return make_service(films, "movies")


@pytest.fixture
def books_service(books: Tenant) -> Service:
    """Charlie's service `books/novels`, never built."""
    from tests.factories import make_service

    return make_service(books, "novels")


@pytest.fixture(scope="module")
def shared_gateway(django_db_setup: None) -> Iterator[RunningGateway]:
    """One for all tests of a file: each of them publishes the route that it asks."""
    from tests.api.gateway import running_gateway

    with running_gateway() as gateway:
        yield gateway
